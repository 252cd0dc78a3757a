// SPDX-License-Identifier: Apache-2.0
#include "deployer/sysroot/lost_record.h"

#include <algorithm>

#include "deployer/sysroot/history.h"
#include "deployer/sysroot/references.h"
#include "lib/boot/boot_loader.h"
#include "lib/sysroot/layout.h"

namespace cfs::deployer {
namespace {

/// The stored release of which an id begins with so much of the image's digest.
Result<release::ReleaseDescription> release_of(const Sysroot& sysroot, const std::string& id) {
  const std::string prefix = id.substr(0, id.find('.'));
  std::optional<verity::Digest> found;
  if (is_deployment_id(id)) {
    for (const std::string& name : CFS_TRY(sysroot.directory().list(sysroot::kReleases))) {
      std::optional<verity::Digest> image = verity::Digest::parse(name);
      if (image && name.starts_with(prefix)) found = image;
    }
  }
  if (found) return sysroot.read_release(*found);
  return make_error(ErrorCode::kNotFound,
                    "no release that is stored says what the record of '" + id + "' said");
}

/// True if a boot that failed has turned the device away from a deployment in `state`. One that is
/// on trial fails until its tries are used up. A good one is given up when it does not get to user
/// space any more.
bool turns_away(const Boot& boot, DeploymentState state) {
  if (boot.reason->kind == ReasonKind::kMarkedBad) return true;
  if (state == DeploymentState::kGood) return boot.boot_id.empty();
  return state == DeploymentState::kFetched;
}

}  // namespace

Result<Deployment> lost_record(const Sysroot& sysroot, const std::string& id,
                               DeploymentState unproven) {
  const release::ReleaseDescription description = CFS_TRY(release_of(sysroot, id));
  Deployment deployment{.id = id,
                        .digest = description.image.digest,
                        .name = description.name,
                        .version = description.version,
                        .channel = description.channel,
                        .epoch = description.epoch,
                        .state = unproven,
                        // It was not earlier; and what came later than it is later still.
                        .installed = description.created,
                        .entry = boot::entry_id(description.version, id)};
  if (const release::ReleaseFile* uki = description.file_with_role("uki")) {
    deployment.uki = uki->sha256;
  }
  const History history = CFS_TRY(read_history_to_go_on(sysroot));
  for (const Boot& boot : history) {
    if (boot.deployment != id) continue;
    // Several may have one image. The description is of the last of them.
    if (boot.version != description.version) {
      return make_error(ErrorCode::kNotFound, "the stored release is " + description.version +
                                                  ", that of '" + id + "' was " + boot.version);
    }
    if (boot.outcome == BootOutcome::kHealthy) {
      deployment.state = DeploymentState::kGood;
      deployment.blessed = std::max<uint64_t>(boot.started, 1);
      deployment.held.reset();
    } else if (boot.reason && turns_away(boot, deployment.state)) {
      deployment.state = DeploymentState::kBad;
      deployment.held = boot.reason;
    }
  }
  if (deployment.state == DeploymentState::kGood && deployment.blessed == 0) {
    deployment.blessed = std::max<uint64_t>(deployment.installed, 1);
  }
  return deployment;
}

}  // namespace cfs::deployer
