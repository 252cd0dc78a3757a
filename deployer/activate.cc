// SPDX-License-Identifier: Apache-2.0
//
// The order of writes. A device must boot the old release or the new one, whatever instant the
// power goes. The boot loader looks at one thing only, the `default` line of loader.conf; so
// everything that the new release needs is durable before that line changes, and the line changes
// in one sector write, which is atomic. Before the line changes the old release boots, with
// everything it needs untouched; afterwards the new one does.
//
//     1  objects, then the image     lib/store: temporary name → one syncfs → fs-verity → name →
//                                    fsync of the directories. A cut leaves whole objects or none;
//                                    nameless rests are removed by the next run.
//     2  every object measured       by the kernel, from the list in the image itself. What was
//                                    there before this update counts too: a damaged object found
//                                    now is fetched again, found after the reboot it is an outage.
//     3  images/<digest>             symlink: temporary name → rename → fsync
//     4  releases/<digest>/          release.json and the UKI: write → fsync → rename → fsync
//     5  deployments/<id>/           the record, state "staged", the same way
//     6  refs/staged                 from now on garbage collection keeps all of the above
//     7  EFI/Linux/<entry>           lib/boot: the UKI, whole and synced under its final name. The
//                                    boot loader does not start it: it is not the default entry
//     8  loader/loader.conf          one sector, synced
//
// A cut between 6 and 8 leaves refs/staged pointing to something that does not boot next. That is
// why nobody believes refs/staged alone: `update` compares it with loader.conf (boots_next) and
// does the rest of the steps again, each of which finds its work done or does it.
//
// The ESP is FAT, which has no journal. Step 7 adds a file and touches no other; step 8 rewrites a
// sector in place. Nothing that the old release boots from is ever renamed or removed here.
//
// refs/booted and refs/previous are not written by the boot, which writes nothing to disk before it
// has verified what it runs, but by the next cfs-deploy (note_what_booted). Until then they say
// what ran earlier, and the boot entry of what runs now is kept because refs/staged still names it.
#include "deployer/activate.h"

#include <algorithm>
#include <set>

#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/base/progress.h"
#include "lib/boot/uki.h"
#include "lib/erofs/reader.h"

namespace cfs::deployer {
namespace {

/// Step 2: the image is well-formed and every object it refers to is in the store, proven.
Result<> check_image_is_complete(Sysroot& sysroot, const verity::Digest& image_digest) {
  UniqueFd file =
      CFS_TRY_WITH("while opening the image", sysroot.objects().open_object(image_digest));
  erofs::Image image = CFS_TRY_WITH("while reading the image", erofs::read_image_file(file.get()));
  std::set<verity::Digest> needed;
  CFS_TRY(image.tree.for_each([&](const tree::Node& node) -> Result<> {
    if (node.is_link() || !node.is_external()) return {};
    if (node.digest() == nullptr || !node.payload_is_digest()) {
      return make_error(ErrorCode::kCorrupt, "the image gives no digest for '" + node.path() + "'");
    }
    needed.insert(*node.digest());
    return {};
  }));
  Progress progress("checking every object", needed.size(), Progress::Unit::kItems);
  for (const verity::Digest& digest : needed) {
    CFS_TRY(check_interrupted());
    progress.add(1);
    CFS_TRY_WITH("while checking the objects of image " + image_digest.hex(),
                 sysroot.objects().open_object(digest));
  }
  return {};
}

/// Has the ESP the deployment's UKI, one that pins its image?
Result<bool> has_whole_entry(const boot::Esp& esp, const Deployment& deployment) {
  for (const boot::BootEntry& entry : CFS_TRY(esp.list())) {
    if (entry.name == deployment.entry) return entry.digest == deployment.digest;
  }
  return false;
}

}  // namespace

std::string uki_path(const release::ReleaseDescription& description,
                     const release::ReleaseFile& file) {
  return Sysroot::release_directory(description.image.digest) + "/" + file.name;
}

Result<Deployment> deployment_for(const Sysroot& sysroot,
                                  const release::ReleaseDescription& description,
                                  uint64_t installed) {
  const verity::Digest& digest = description.image.digest;
  for (Deployment& deployment : CFS_TRY(sysroot.deployments())) {
    if (deployment.digest == digest && deployment.version == description.version &&
        deployment.epoch == description.epoch && deployment.state != DeploymentState::kFailed) {
      return std::move(deployment);
    }
  }
  std::string id = CFS_TRY(sysroot.unused_id(digest));
  std::string entry = boot::entry_name(description.version, id);
  return Deployment{.id = std::move(id),
                    .digest = digest,
                    .name = description.name,
                    .version = description.version,
                    .channel = description.channel,
                    .epoch = description.epoch,
                    .state = DeploymentState::kStaged,
                    .installed = installed,
                    .entry = std::move(entry)};
}

Result<Deployment> activate(Sysroot& sysroot, boot::Esp& esp,
                            const trust::Verified<release::ReleaseDescription>& description,
                            Deployment deployment) {
  const verity::Digest& digest = description->image.digest;
  CFS_TRY(check_image_is_complete(sysroot, digest));

  const release::ReleaseFile* file = description->file_with_role("uki");
  if (file == nullptr) {
    return make_error(ErrorCode::kCorrupt, "release '" + description->version + "' has no UKI");
  }
  UniqueFd uki = CFS_TRY(open_regular_at(sysroot.directory_fd(), uki_path(*description, *file)));
  boot::UkiInfo info =
      CFS_TRY_WITH("while reading '" + file->name + "'", boot::read_uki(uki.get()));
  CFS_TRY_WITH("while checking '" + file->name + "'", boot::check_boots_image(info, digest));

  CFS_TRY(sysroot.publish_image(digest));
  CFS_TRY(sysroot.save_release(description));
  std::optional<Deployment> booted = CFS_TRY(sysroot.reference("booted"));
  bool is_running = booted && booted->id == deployment.id;
  // Staged again after a rollback, it has to prove itself again; and `rollback` can give it up.
  if (!is_running) deployment.state = DeploymentState::kStaged;
  CFS_TRY(sysroot.save(deployment));
  if (is_running) {
    CFS_TRY(sysroot.remove_reference("staged"));
  } else {
    CFS_TRY(sysroot.set_reference("staged", deployment));
  }
  CFS_TRY_WITH("while writing the boot entry", esp.install(deployment.entry, uki.get()));
  CFS_TRY_WITH("while writing the boot entry", esp.set_default(deployment.entry));
  return deployment;
}

Result<Deployment> roll_back(Sysroot& sysroot, boot::Esp& esp) {
  std::optional<Deployment> booted = CFS_TRY(sysroot.reference("booted"));
  std::optional<Deployment> staged = CFS_TRY(sysroot.reference("staged"));
  bool gives_up_update = staged && staged->state == DeploymentState::kStaged;
  std::optional<Deployment> target =
      gives_up_update ? booted : CFS_TRY(sysroot.reference("previous"));
  if (!target || target->state != DeploymentState::kGood) {
    return make_error(ErrorCode::kNotFound, "there is no earlier good deployment to go back to")
        .with_hint("`cfs-deploy status` shows what is installed");
  }
  CFS_TRY(check_image_is_complete(sysroot, target->digest));
  if (!CFS_TRY(has_whole_entry(esp, *target))) {
    return make_error(ErrorCode::kNotFound, "the boot entry '" + target->entry + "' of " +
                                                target->version + " is missing or damaged")
        .with_hint("it is a file in EFI/Linux on the EFI system partition");
  }
  if (!gives_up_update) CFS_TRY(sysroot.set_reference("staged", *target));
  CFS_TRY_WITH("while changing the boot entry", esp.set_default(target->entry));
  if (gives_up_update) CFS_TRY(sysroot.remove_reference("staged"));
  return *target;
}

Result<bool> boots_next(const boot::Esp& esp, const Deployment& deployment) {
  if (CFS_TRY(esp.default_entry()) != deployment.entry) return false;
  return has_whole_entry(esp, deployment);
}

}  // namespace cfs::deployer
