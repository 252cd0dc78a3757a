// SPDX-License-Identifier: Apache-2.0
#include "deployer/upkeep/roots.h"

#include <algorithm>

#include "deployer/apply.h"
#include "deployer/boot_order.h"
#include "deployer/sysroot/running.h"
#include "lib/sysroot/layout.h"

namespace cfs::deployer {
namespace {

Error unsure(const std::string& what) {
  return make_error(ErrorCode::kCorrupt, "what must stay is not known: " + what)
      .with_hint("nothing was removed; 'cfs-deploy fsck --repair' mends what can be mended");
}

/// What cannot be read must not be one of those that are needed.
Result<> check_damage(const Inventory& inventory, const std::vector<boot::BootEntry>& entries) {
  for (const Damage& damage : inventory.damaged) {
    const std::string parent = sysroot::deployment_directory("");
    if (!damage.path.starts_with(parent)) return unsure(damage.path + ": " + damage.problem);
    const std::string id = damage.path.substr(parent.size());
    bool is_pinned = std::count(inventory.pinned.begin(), inventory.pinned.end(), id) > 0;
    bool has_entry = std::any_of(entries.begin(), entries.end(), [&](const boot::BootEntry& entry) {
      return entry.id.ends_with("_" + id);
    });
    if (is_pinned || has_entry) return unsure(damage.path + ": " + damage.problem);
  }
  return {};
}

}  // namespace

Result<Roots> find_roots(const Inventory& inventory, const boot::BootLoader& loader,
                         const Environment& environment, uint64_t keep) {
  const std::vector<boot::BootEntry> entries = CFS_TRY(loader.list());
  CFS_TRY(check_damage(inventory, entries));
  std::set<std::string> kept;
  const References& references = inventory.references;
  for (const auto* role :
       {&references.booted, &references.staged, &references.previous, &references.recovery}) {
    if (*role) kept.insert((*role)->id);
  }
  if (std::optional<Deployment> fetched = fetched_deployment(inventory)) kept.insert(fetched->id);
  if (std::optional<Deployment> next = CFS_TRY(next_deployment(loader, inventory))) {
    kept.insert(next->id);
  }
  const std::optional<std::string> chosen = CFS_TRY(loader.chosen());
  std::set<verity::Digest> images_in_use;
  for (const boot::BootEntry& entry : entries) {
    bool is_chosen = chosen && boot::same_entry(*chosen, entry.id);
    bool is_known = false;
    for (const Deployment& one : inventory.deployments) {
      if (!boot::same_entry(one.entry, entry.id)) continue;
      is_known = true;
      if ((!entry.waits() || is_chosen) && !one.collected) kept.insert(one.id);
    }
    if (!is_known && entry.digest) images_in_use.insert(*entry.digest);
  }

  std::optional<Running> running = CFS_TRY(running_system(environment, CFS_TRY(loader.selected())));
  if (running) images_in_use.insert(running->image);

  std::vector<const Deployment*> good;
  for (const Deployment& one : inventory.deployments) {
    if (one.state == DeploymentState::kGood && !one.collected) good.push_back(&one);
  }
  std::stable_sort(good.begin(), good.end(), [](const Deployment* a, const Deployment* b) {
    return a->blessed > b->blessed;
  });
  if (good.empty()) {
    for (const Deployment& way : ways_back(inventory, Deployment())) {
      if (way.state != DeploymentState::kBad) continue;
      kept.insert(way.id);
      break;
    }
  }
  std::erase_if(good, [&](const Deployment* one) {
    return std::count(inventory.pinned.begin(), inventory.pinned.end(), one->id) > 0 ||
           (references.recovery && references.recovery->id == one->id);
  });
  auto count = static_cast<uint64_t>(std::count_if(
      good.begin(), good.end(), [&](const Deployment* one) { return kept.contains(one->id); }));
  for (const Deployment* one : good) {
    if (count >= keep) break;
    if (kept.insert(one->id).second) ++count;
  }

  Roots roots{.kept = {}, .collected = {}, .images = std::move(images_in_use)};
  for (const std::string& id : inventory.pinned) {
    bool is_installed = std::any_of(inventory.deployments.begin(), inventory.deployments.end(),
                                    [&](const Deployment& one) { return one.id == id; });
    if (!is_installed) return unsure("'" + id + "' is pinned, and is not a deployment");
    kept.insert(id);
  }
  for (const Deployment& one : inventory.deployments) {
    if (kept.contains(one.id) && !one.collected) {
      roots.kept.push_back(one);
      roots.images.insert(one.digest);
    } else {
      roots.collected.push_back(one);
    }
  }
  if (roots.kept.empty()) return unsure("no deployment is in use");
  return roots;
}

}  // namespace cfs::deployer
