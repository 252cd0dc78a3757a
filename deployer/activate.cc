// SPDX-License-Identifier: Apache-2.0
//
// What a release needs is made durable before it can be chosen to boot (boot_order.cc goes on):
//
//     objects, then the image   lib/store: temporary name, one syncfs, fs-verity, name, fsync of
//     the
//                               directories. A cut leaves whole objects or none; nameless rests are
//                               removed by the next run.
//     releases/<digest>/        the UKI and release.json: write, fsync, rename, fsync
//     images/<digest>           symlink: temporary name, rename, fsync
//
// Nothing that another release boots from is ever renamed or removed here.
#include "deployer/activate.h"

namespace cfs::deployer {

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
                   known.epoch == description.epoch &&
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

Result<Deployment> activate(Sysroot& sysroot, boot::BootLoader& loader, Inventory& inventory,
                            const trust::Verified<release::ReleaseDescription>& description,
                            Deployment deployment, const SwitchOptions& options) {
  const verity::Digest& digest = description->image.digest;
  CFS_TRY(check_image_is_complete(sysroot, digest));
  CFS_TRY(open_uki(sysroot, deployment));
  CFS_TRY(sysroot.publish_image(digest));
  CFS_TRY(sysroot.save_release(description));
  const std::string id = deployment.id;
  CFS_TRY(boot_next(sysroot, loader, inventory, std::move(deployment), options));
  for (const Deployment& one : inventory.deployments) {
    if (one.id == id) return one;
  }
  return make_error(ErrorCode::kInternal, "the deployment '" + id + "' was not saved");
}

}  // namespace cfs::deployer
