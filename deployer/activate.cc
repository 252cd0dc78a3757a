// SPDX-License-Identifier: Apache-2.0
//
// The order of writes. A device must boot the old release or the new one, whatever instant the
// power goes. The boot loader looks at one thing only, which entry was chosen (systemd-boot: the
// `default` line of loader.conf); so everything that the new release needs is durable before that
// changes, and it changes atomically. Before it changes the old release boots, with everything it
// needs untouched; afterwards the new one does.
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
//     7  the boot entry              lib/boot: the UKI, whole and synced under its final name. The
//                                    boot loader does not start it: it is not chosen
//     8  the choice                  lib/boot: with systemd-boot one sector of loader.conf, synced
//
// A cut between 6 and 8 leaves refs/staged pointing to something that does not boot next. That is
// why nobody believes refs/staged alone: `update` asks the boot loader too (boots_next) and does
// the rest of the steps again, each of which finds its work done or does it.
//
// Nothing that the old release boots from is ever renamed or removed here.
//
// refs/booted and refs/previous are not written by the boot, which writes nothing to disk before it
// has verified what it runs, but by the next cfs-deploy (note_what_booted). Until then they say
// what ran earlier, and the boot entry of what runs now is kept because refs/staged still names it.
#include "deployer/activate.h"

#include <algorithm>

#include "deployer/fetch/repository.h"
#include "lib/base/interrupt.h"
#include "lib/base/progress.h"
#include "lib/boot/uki.h"
#include "lib/erofs/reader.h"
#include "lib/sysroot/layout.h"
#include "lib/tree/objects.h"

namespace cfs::deployer {

Result<> check_image_is_complete(Sysroot& sysroot, const verity::Digest& image_digest) {
  UniqueFd file =
      CFS_TRY_WITH("while opening the image", sysroot.objects().open_object(image_digest));
  erofs::Image image = CFS_TRY_WITH("while reading the image", erofs::read_image_file(file.get()));
  Result<std::vector<tree::ObjectReference>> needed = tree::objects_of(image.tree);
  if (!needed) {
    Error error = std::move(needed).error().with("while reading the image");
    error.code = ErrorCode::kCorrupt;
    return error;
  }
  Progress progress("checking every object", needed->size(), Progress::Unit::kItems);
  for (const tree::ObjectReference& object : *needed) {
    CFS_TRY(check_interrupted());
    progress.add(1);
    CFS_TRY_WITH("while checking the objects of image " + image_digest.hex(),
                 sysroot.objects().open_object(object.digest));
  }
  return {};
}

Result<Deployment> deployment_for(const Sysroot& sysroot, const Inventory& inventory,
                                  const release::ReleaseDescription& description,
                                  uint64_t installed) {
  const release::ReleaseFile* uki = description.file_with_role("uki");
  if (uki == nullptr) {
    return make_error(ErrorCode::kCorrupt, "release '" + description.version + "' has no UKI");
  }
  const verity::Digest& digest = description.image.digest;
  for (const Deployment& known : inventory.deployments) {
    bool is_same = known.digest == digest && known.version == description.version &&
                   known.epoch == description.epoch && known.state != DeploymentState::kFailed &&
                   known.uki.value_or(uki->sha256) == uki->sha256;
    if (!is_same) continue;
    Deployment deployment = known;
    deployment.uki = uki->sha256;
    return deployment;
  }
  std::string id = CFS_TRY(unused_id(sysroot, digest));
  std::string entry = boot::entry_id(description.version, id);
  return Deployment{.id = std::move(id),
                    .digest = digest,
                    .name = description.name,
                    .version = description.version,
                    .channel = description.channel,
                    .epoch = description.epoch,
                    .state = DeploymentState::kStaged,
                    .installed = installed,
                    .entry = std::move(entry),
                    .uki = uki->sha256};
}

namespace {

/// The copy of the deployment's UKI in the sysroot, proven to be what the record says and to boot
/// the image.
Result<UniqueFd> open_uki(const Sysroot& sysroot, const Deployment& deployment) {
  if (!deployment.uki) {
    return make_error(ErrorCode::kNotFound, "there is no copy of the UKI of " + deployment.version);
  }
  const std::string path = sysroot::uki_path(deployment.digest, *deployment.uki);
  auto open = [&]() -> Result<UniqueFd> {
    UniqueFd uki = CFS_TRY(sysroot.directory().open_file(path));
    if (CFS_TRY(sha256_of_file(uki.get())) != *deployment.uki) {
      return make_error(ErrorCode::kDigestMismatch, "'" + path + "' is damaged");
    }
    boot::UkiInfo info = CFS_TRY(boot::read_uki(uki.get()));
    CFS_TRY(boot::check_boots_image(info, deployment.digest));
    return uki;
  };
  return CFS_TRY_WITH("while checking the UKI of " + deployment.version, open());
}

}  // namespace

Result<> install_entry(Sysroot& sysroot, boot::BootLoader& loader, const Deployment& deployment) {
  UniqueFd uki = CFS_TRY(open_uki(sysroot, deployment));
  CFS_TRY_WITH("while writing the boot entry", loader.install(deployment.entry, uki.get()));
  return {};
}

Result<Deployment> activate(Sysroot& sysroot, boot::BootLoader& loader, const Inventory& inventory,
                            const trust::Verified<release::ReleaseDescription>& description,
                            Deployment deployment) {
  const verity::Digest& digest = description->image.digest;
  CFS_TRY(check_image_is_complete(sysroot, digest));
  UniqueFd uki = CFS_TRY(open_uki(sysroot, deployment));

  CFS_TRY(sysroot.publish_image(digest));
  CFS_TRY(sysroot.save_release(description));
  const std::optional<Deployment>& booted = inventory.references.booted;
  bool is_running = booted && booted->id == deployment.id;
  // Staged again after a rollback, it has to prove itself again; and `rollback` can give it up.
  if (!is_running) deployment.state = DeploymentState::kStaged;
  CFS_TRY(save_deployment(sysroot, deployment));
  if (is_running) {
    CFS_TRY(remove_reference(sysroot, Role::kStaged));
  } else {
    CFS_TRY(set_reference(sysroot, Role::kStaged, deployment));
  }
  CFS_TRY_WITH("while writing the boot entry", loader.install(deployment.entry, uki.get()));
  CFS_TRY_WITH("while choosing the boot entry", loader.set_next(deployment.entry));
  return deployment;
}

Result<bool> has_whole_entry(const boot::BootLoader& loader, const Deployment& deployment) {
  for (const boot::BootEntry& entry : CFS_TRY(loader.list())) {
    if (boot::same_entry(entry.id, deployment.entry)) return entry.digest == deployment.digest;
  }
  return false;
}

Result<bool> boots_next(const boot::BootLoader& loader, const Deployment& deployment) {
  std::optional<std::string> next = CFS_TRY(loader.next());
  if (!next || !boot::same_entry(*next, deployment.entry)) return false;
  return has_whole_entry(loader, deployment);
}

}  // namespace cfs::deployer
