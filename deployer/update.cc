// SPDX-License-Identifier: Apache-2.0
#include "deployer/update.h"

#include <algorithm>

#include "deployer/fetch/plan.h"
#include "deployer/fetch/repository.h"
#include "deployer/sysroot/var.h"
#include "lib/base/io.h"
#include "lib/base/progress.h"
#include "lib/trust/releases.h"

namespace cfs::deployer {
namespace {

std::string named(std::string_view version, uint64_t epoch) {
  return std::string(version) + " (epoch " + std::to_string(epoch) + ")";
}

/// What boots next according to the refs: the staged deployment, else the running one.
Result<std::optional<Deployment>> next_deployment(const Sysroot& sysroot) {
  std::optional<Deployment> staged = CFS_TRY(sysroot.reference("staged"));
  if (staged) return staged;
  return sysroot.reference("booted");
}

/// Releases never go back by an update, even if the metadata is signed and fresh: a signer who
/// offers less than what is installed made a mistake, or is not the signer. After a change of the
/// keys that sign targets epochs are counted anew: what a stolen key drove up must not outlive it.
Result<> refuse_older(const Sysroot& sysroot, const trust::Verified<trust::Targets>& targets,
                      const trust::ReleaseTarget& newest) {
  for (const Deployment& deployment : CFS_TRY(sysroot.deployments())) {
    if (deployment.name != newest.name || deployment.channel != newest.channel) continue;
    if (deployment.epoch <= newest.epoch) continue;
    if (deployment.targets_keys.value_or(targets->targets_keys) != targets->targets_keys) continue;
    return make_error(ErrorCode::kRollback, "the newest release on offer, " +
                                                named(newest.version, newest.epoch) +
                                                ", is older than the installed " +
                                                named(deployment.version, deployment.epoch))
        .with_hint(
            "to withdraw a release publish its predecessor again with a higher epoch; on this "
            "device alone use `cfs-deploy rollback`");
  }
  return {};
}

Result<bool> has_entry(const boot::Esp& esp, const std::string& name) {
  std::vector<boot::BootEntry> entries = CFS_TRY(esp.list());
  return std::any_of(entries.begin(), entries.end(),
                     [&](const boot::BootEntry& entry) { return entry.name == name; });
}

}  // namespace

Result<UpdateResult> update(Sysroot& sysroot, MountedEsp& esp, const Environment& environment,
                            const UpdateOptions& options) {
  CFS_TRY(note_what_booted(sysroot, environment));
  const Origin& origin = sysroot.origin();
  Repository repository = CFS_TRY(
      Repository::open(options.url.empty() ? origin.url : options.url, environment.network));
  trust::Fetch fetch = repository.metadata();
  trust::MetadataDirectory trusted = CFS_TRY(sysroot.trust_store());
  trust::Verified<trust::Targets> targets =
      CFS_TRY(trust::refresh(trusted, fetch, environment.now()));
  trust::ReleaseTarget newest =
      CFS_TRY(trust::find_newest_release(trusted, fetch, targets, origin.name, origin.channel));
  CFS_TRY(refuse_older(sysroot, targets, newest));
  trust::Verified<release::ReleaseDescription> description =
      CFS_TRY(trust::fetch_release(targets, newest.target, fetch));
  const verity::Digest& digest = description->image.digest;

  std::optional<Deployment> current = CFS_TRY(next_deployment(sysroot));
  if (current && current->digest == digest && current->epoch == newest.epoch &&
      CFS_TRY(boots_next(*esp, *current))) {
    environment.print("up to date: " + origin.name + " " + named(newest.version, newest.epoch) +
                      "\n");
    return UpdateResult{.staged = {}, .up_to_date = true};
  }

  const release::ReleaseFile* uki = description->file_with_role("uki");
  if (uki == nullptr) {
    return make_error(ErrorCode::kCorrupt, "release '" + newest.version + "' has no UKI");
  }
  trust::Verified<transport::Manifest> manifest =
      CFS_TRY(trust::fetch_transport(description, fetch));
  Plan plan = CFS_TRY(make_plan(manifest, sysroot.objects()));
  const int cfs = sysroot.directory_fd();
  bool uki_is_missing = !CFS_TRY(file_is_there(*uki, cfs, uki_path(*description, *uki)));
  if (uki_is_missing) {
    plan.fetch_bytes += uki->size_bytes;
    plan.disk_bytes += align_up(uki->size_bytes, 4096);
  }
  size_t files = plan.objects.size() + (plan.image ? 1 : 0) + (uki_is_missing ? 1 : 0);
  environment.print(
      origin.name + " " + origin.channel + ": " +
      (current ? named(current->version, current->epoch) + " -> " : std::string("new: ")) +
      named(newest.version, newest.epoch) + "\nto fetch: " + format_bytes(plan.fetch_bytes) +
      " in " + std::to_string(files) + " files (the release has " +
      std::to_string(manifest->objects.size()) + " objects); needs " +
      format_bytes(plan.disk_bytes) + " on disk\n");
  if (options.check_only) return UpdateResult{};

  uint64_t installed = options.purpose == Purpose::kDevice
                           ? static_cast<uint64_t>(std::max<UnixTime>(environment.now(), 0))
                           : description->created;
  Deployment deployment = CFS_TRY(deployment_for(sysroot, *description, installed));
  deployment.targets_keys = targets->targets_keys;
  CFS_TRY(sysroot.require_verity());
  CFS_TRY(check_space(cfs, "the sysroot", plan.disk_bytes, plan.inodes));
  if (!CFS_TRY(has_entry(*esp, deployment.entry))) {
    CFS_TRY(check_space(esp.directory_fd(), "the EFI system partition", uki->size_bytes, 0));
  }

  {
    Progress progress("fetching", plan.fetch_bytes);
    CFS_TRY(make_directories(cfs, Sysroot::release_directory(digest)));
    if (uki_is_missing) {
      CFS_TRY(repository.fetch_file(*uki, cfs, uki_path(*description, *uki), progress));
    }
    CFS_TRY(repository.fetch_objects(plan.objects, sysroot.objects(), progress));
    if (plan.image) {
      CFS_TRY(repository.fetch_objects(std::span(&*plan.image, 1), sysroot.objects(), progress));
    }
  }
  if (options.purpose == Purpose::kDevice) CFS_TRY(fill_var(sysroot, digest));
  Deployment staged = CFS_TRY(activate(sysroot, *esp, description, std::move(deployment)));
  environment.print("staged " + named(staged.version, staged.epoch) + ": " + staged.entry +
                    " boots next\n");
  return UpdateResult{.staged = std::move(staged)};
}

}  // namespace cfs::deployer
