// SPDX-License-Identifier: Apache-2.0
#include "deployer/sysroot/lost_record.h"

#include <algorithm>
#include <map>

#include "deployer/sysroot/history.h"
#include "lib/base/interrupt.h"
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

/// What the history says of a deployment: state, blessed, held.
void add_history(const History& history, Deployment& deployment) {
  for (const Boot& boot : history) {
    if (boot.deployment != deployment.id) continue;
    if (boot.outcome == BootOutcome::kHealthy) {
      deployment.state = DeploymentState::kGood;
      deployment.blessed = std::max<uint64_t>(boot.started, 1);
      deployment.held.reset();
    } else if (boot.reason && turns_away(boot, deployment.state)) {
      deployment.state = DeploymentState::kBad;
      deployment.held = boot.reason;
    }
  }
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
    // Several may have one image. The description is of the last of them.
    if (boot.deployment == id && boot.version != description.version) {
      return make_error(ErrorCode::kNotFound, "the stored release is " + description.version +
                                                  ", that of '" + id + "' was " + boot.version);
    }
  }
  add_history(history, deployment);
  if (deployment.state == DeploymentState::kGood && deployment.blessed == 0) {
    deployment.blessed = std::max<uint64_t>(deployment.installed, 1);
  }
  return deployment;
}

Result<std::optional<Reason>> held_by_lost_record(const Sysroot& sysroot,
                                                  const Inventory& inventory,
                                                  const release::ReleaseDescription& release) {
  std::optional<Reason> held;
  // The last release of that image that was here.
  Result<release::ReleaseDescription> stored = sysroot.read_release(release.image.digest);
  CFS_TRY(check_interrupted());
  if (stored && stored->epoch < release.epoch) return held;

  const std::string prefix = release.image.digest.hex().substr(0, 12) + ".";
  const std::string deployments = sysroot::deployment_directory("");
  const History history = CFS_TRY(read_history_to_go_on(sysroot));
  std::map<std::string, bool> lost;  // id → its record is damaged
  for (const Boot& boot : history) {
    if (boot.version == release.version) lost.emplace(boot.deployment, false);
  }
  for (const Damage& damage : inventory.damaged) {
    if (damage.path.starts_with(deployments)) lost[damage.path.substr(deployments.size())] = true;
  }
  for (const Deployment& one : inventory.deployments) lost.erase(one.id);
  for (const auto& [id, is_damaged] : lost) {
    if (!id.starts_with(prefix)) continue;
    Deployment deployment{.id = id, .state = DeploymentState::kFetched};
    add_history(history, deployment);
    if (deployment.state == DeploymentState::kGood) continue;
    if (deployment.held) held = deployment.held;
    if (!held && is_damaged) {
      held = Reason{.kind = ReasonKind::kNoHealth, .detail = "its record is damaged"};
    }
  }
  return held;
}

}  // namespace cfs::deployer
