// SPDX-License-Identifier: Apache-2.0
//
// What a release needs is made durable before it can be chosen to boot (boot_order.cc goes on):
//
//     objects, then the image   lib/store: temporary name, one syncfs, fs-verity, name, fsync of
//                               the directories. A cut leaves whole objects or none; nameless rests
//                               are removed by the next run.
//     releases/<digest>/        the UKI and release.json: write, fsync, rename, fsync
//     images/<digest>           symlink: temporary name, rename, fsync
//     deployments/<id>/         the record, state "fetched": write, fsync, rename, fsync
//
// Nothing that another release boots from is ever renamed or removed here.
#include "deployer/apply.h"

#include <algorithm>
#include <memory>

#include "deployer/config/config.h"
#include "deployer/mounted_esp.h"
#include "deployer/options.h"
#include "deployer/rollback.h"
#include "deployer/sysroot/running.h"
#include "deployer/upkeep/repair.h"
#include "lib/base/interrupt.h"

namespace cfs::deployer {
namespace {

/// Repairs the best deployment to fall back to that can be repaired. False: none.
bool mend_a_way_back(Sysroot& sysroot, const Environment& environment,
                     std::span<const net::Url> urls, const Inventory& inventory,
                     const Deployment& next) {
  for (const Deployment& way : ways_back(inventory, next)) {
    if (!repair_deployment(sysroot, environment, urls, way)) continue;
    environment.print("repaired " + way.version + " (epoch " + std::to_string(way.epoch) +
                      "), the way back\n");
    return true;
  }
  return false;
}

/// The time of a new record: later than that of all others, though the clock may have gone back.
uint64_t later_than_all(const Inventory& inventory, uint64_t time) {
  for (const Deployment& one : inventory.deployments) {
    if (one.installed < kMaxTime) time = std::max(time, one.installed + 1);
  }
  return time;
}

}  // namespace

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
                    .state = DeploymentState::kFetched,
                    .installed = later_than_all(inventory, installed),
                    .entry = std::move(entry),
                    .uki = uki->sha256};
}

Result<Deployment> record_fetched(Sysroot& sysroot, Inventory& inventory,
                                  const trust::Verified<release::ReleaseDescription>& description,
                                  Deployment deployment) {
  const verity::Digest& digest = description->image.digest;
  CFS_TRY(check_image_is_complete(sysroot, digest));
  CFS_TRY(open_uki(sysroot, deployment));
  CFS_TRY(sysroot.publish_image(digest));
  CFS_TRY(sysroot.save_release(description));
  deployment.collected = false;
  if (deployment.held) {  // taken again all the same, as if it were new
    const std::optional<Deployment>& booted = inventory.references.booted;
    bool is_running = booted && booted->id == deployment.id;
    if (!is_running || deployment.state == DeploymentState::kBad) {
      deployment.state = DeploymentState::kFetched;
    }
    deployment.installed = later_than_all(inventory, deployment.installed);
    deployment.held.reset();
  }
  CFS_TRY(save_deployment(sysroot, deployment));
  update_inventory(inventory, deployment);
  return deployment;
}

Result<Deployment> apply(Sysroot& sysroot, boot::BootLoader& loader, const Environment& environment,
                         std::span<const net::Url> urls, Inventory& inventory,
                         const Deployment& deployment, const SwitchOptions& options) {
  Result<Deployment> next = boot_next(sysroot, loader, inventory, deployment, options);
  if (next || next.error().code != ErrorCode::kNoWayBack) return next;
  const bool is_mended = mend_a_way_back(sysroot, environment, urls, inventory, deployment);
  CFS_TRY(check_interrupted());
  return is_mended ? boot_next(sysroot, loader, inventory, deployment, options) : next;
}

std::optional<Deployment> fetched_deployment(const Inventory& inventory) {
  auto age = [](const Deployment& one) { return std::pair(one.installed, one.epoch); };
  const References& references = inventory.references;
  std::optional<Deployment> newest = references.staged ? references.staged : references.booted;
  bool is_fetched = false;
  for (const Deployment& one : inventory.deployments) {
    if (one.state != DeploymentState::kFetched || one.held) continue;
    if (newest && age(one) <= age(*newest)) continue;
    newest = one;
    is_fetched = true;
  }
  return is_fetched ? newest : std::nullopt;
}

RunCommand declare_apply(CLI::App& command) {
  struct Arguments {
    std::string sysroot = kDefaultSysroot;
    std::string esp;
    bool no_way_back = false;
  };
  auto arguments = std::make_shared<Arguments>();
  add_sysroot_option(command, arguments->sysroot);
  add_esp_option(command, arguments->esp);
  add_no_way_back_option(command, arguments->no_way_back);
  return [arguments](const Environment& environment) -> Result<Answer> {
    Sysroot sysroot = CFS_TRY(Sysroot::open(environment, arguments->sysroot, Access::kWrite));
    MountedEsp esp = CFS_TRY(MountedEsp::open(arguments->esp, environment, Access::kWrite));
    SwitchOptions switching = switch_options(arguments->no_way_back);
    switching.tries = static_cast<unsigned>(CFS_TRY(read_config(environment)).tries);
    Inventory inventory = CFS_TRY(note_what_booted(sysroot, environment, esp.loader()));
    std::optional<Deployment> fetched = fetched_deployment(inventory);
    if (!fetched) {
      return as_far_as_readable(
                 inventory, make_error(ErrorCode::kNothingToDo, "nothing that was fetched waits"))
          .with_hint("'cfs-deploy fetch' brings the newest release, 'cfs-deploy update' does both");
    }
    Deployment next =
        CFS_TRY(apply(sysroot, esp.loader(), environment, repository_urls(sysroot, environment),
                      inventory, *fetched, switching));
    environment.print(describe_next(next) + "\n");
    return next_answer(next);
  };
}

}  // namespace cfs::deployer
