// SPDX-License-Identifier: Apache-2.0
//
// The order of writes. A device must boot the old deployment or the new one, whatever instant the
// power goes, and fall back by itself when the new one fails. The boot loader looks at two things:
// which entry is chosen (systemd-boot: the `default` line of loader.conf), and, when that one has
// used up its tries, which is the first of the others that have some. So everything that the new
// deployment needs, and the way back, is durable and verified before the choice changes, and the
// choice changes atomically.
//
//     1  both verified        the new one and the way back: image and objects measured by the
//                             kernel, UKI hashed
//     2  the records          of the new one, and of those that somebody turns away from
//     3  refs/staged          from now on garbage collection keeps all of it
//     4  the way back         its entry whole and without a counter, so that it starts whenever
//                             nothing else is asked for
//     5  entries nobody needs removed: they can be put back from the copies of their UKIs. Those
//                             that cannot are parked, so that none is taken for the way back
//     6  the new entry        with its tries; nobody asks for it yet
//     7  the choice           one sector of loader.conf; then wishes in the firmware's variables
//                             are withdrawn
//     8  the old choice       removed or parked too, if nobody needs it now
//     9  the running one      is parked, if it is neither of the two
//
// On FAT a renamed file may be lost by a power cut. So the entry that must boot if all else fails
// is never renamed. In step 4 it loses its counter by a copy, and a file without room for a copy is
// renamed only while another entry is chosen. The running one of which nobody knows yet whether it
// is good keeps the counter that it has.
//
// A cut between 3 and 7 leaves refs/staged pointing to something that does not boot next. That is
// why nobody believes refs/staged alone: `update` asks the boot loader too and does the rest of the
// steps again, each of which finds its work done or does it.
#include "deployer/boot_order.h"

#include <algorithm>

#include "deployer/fetch/repository.h"
#include "deployer/upkeep/needed_objects.h"
#include "lib/base/interrupt.h"
#include "lib/base/progress.h"
#include "lib/boot/uki.h"
#include "lib/sysroot/layout.h"

namespace cfs::deployer {
namespace {

bool is_same(const std::optional<Deployment>& a, const Deployment& b) { return a && a->id == b.id; }

std::optional<boot::BootEntry> find_entry(const std::vector<boot::BootEntry>& entries,
                                          const Deployment& deployment) {
  for (const boot::BootEntry& entry : entries) {
    if (boot::same_entry(entry.id, deployment.entry)) return entry;
  }
  return std::nullopt;
}

/// None: there is none, and none is needed.
Result<std::optional<Deployment>> find_way_back(Sysroot& sysroot, const boot::BootLoader& loader,
                                                const Inventory& inventory, const Deployment& next,
                                                WayBack way_back) {
  Result<Deployment> found = whole_way_back(sysroot, loader, inventory, next);
  if (found) return std::optional(std::move(*found));
  if (found.error().code != ErrorCode::kNoWayBack) return Error(std::move(found).error());
  const std::optional<Deployment>& booted = inventory.references.booted;
  // What runs may be what a damaged record does not tell.
  bool is_switch = booted ? booted->id != next.id : !inventory.damaged.empty();
  // From a bad one to a good one: better than staying, as mark-bad does it.
  bool leaves_bad =
      booted && booted->state == DeploymentState::kBad && next.state == DeploymentState::kGood;
  if (!is_switch || leaves_bad || way_back == WayBack::kNotRequired) {
    return std::optional<Deployment>();
  }
  return Error(std::move(found).error())
      .with_hint(
          "'cfs-deploy fsck --repair' mends what is damaged; '--no-way-back' goes on "
          "without");
}

/// Puts the entry of the way back in place, where it starts whenever nothing else is asked for.
Result<> prepare_way_back(Sysroot& sysroot, boot::BootLoader& loader, const Deployment& way_back) {
  if (way_back.uki) {
    UniqueFd uki = CFS_TRY(open_uki(sysroot, way_back));
    CFS_TRY(loader.install(way_back.entry, uki.get(), std::nullopt));
  }
  return has_proven_good(way_back) ? end_trial(loader, way_back) : Result<>();
}

bool is_ours(const Inventory& inventory, const boot::BootEntry& entry) {
  return entry.digest.has_value() ||
         std::any_of(inventory.deployments.begin(), inventory.deployments.end(),
                     [&](const Deployment& one) { return boot::same_entry(one.entry, entry.id); });
}

/// Entries of ours that neither `needed` nor the choice nor the running deployment need.
Result<std::vector<boot::BootEntry>> unneeded_entries(const boot::BootLoader& loader,
                                                      const Inventory& inventory,
                                                      const std::vector<std::string>& needed) {
  const std::optional<std::string> chosen = CFS_TRY(loader.chosen());
  std::vector<boot::BootEntry> entries = CFS_TRY(loader.list());
  std::erase_if(entries, [&](const boot::BootEntry& entry) {
    auto is_it = [&](const std::string& id) { return boot::same_entry(id, entry.id); };
    return !is_ours(inventory, entry) || std::any_of(needed.begin(), needed.end(), is_it) ||
           (chosen && is_it(*chosen)) ||
           (inventory.references.booted && is_it(inventory.references.booted->entry));
  });
  return entries;
}

Result<> check_boots_next(const boot::BootLoader& loader, const Deployment& deployment) {
  if (CFS_TRY(boots_next(loader, deployment))) return {};
  std::optional<boot::BootEntry> entry = find_entry(CFS_TRY(loader.list()), deployment);
  if (CFS_TRY(boots_next(loader, deployment))) return {};  // what could not be read can be now
  return make_error(ErrorCode::kUnsupported,
                    "the boot loader would start another entry than '" + deployment.entry +
                        "', which was chosen" +
                        (entry && !entry->digest ? ": " + entry->problem : ""));
}

/// An entry that cfs has made, of a deployment that this sysroot has neither a record nor the image
/// of: it cannot boot. They are left when the root file system was made anew, and the ESP was not.
bool is_orphan(const Sysroot& sysroot, const Inventory& inventory, const boot::BootEntry& entry) {
  const std::string id = boot::deployment_of_entry(entry.id);
  if (!entry.digest || !is_deployment_id(id) ||
      !entry.digest->hex().starts_with(id.substr(0, id.find('.')))) {
    return false;
  }
  const std::string record = sysroot::deployment_directory(id);
  return std::none_of(inventory.deployments.begin(), inventory.deployments.end(),
                      [&](const Deployment& one) {
                        return one.id == id || boot::same_entry(one.entry, entry.id);
                      }) &&
         std::none_of(inventory.damaged.begin(), inventory.damaged.end(),
                      [&](const Damage& damage) { return damage.path == record; }) &&
         !sysroot.objects().contains(*entry.digest).value_or(true);
}

/// Nobody needs the entry, and it can be put back, or could not boot.
bool can_be_removed(const Sysroot& sysroot, const Inventory& inventory,
                    const boot::BootEntry& entry) {
  if (is_orphan(sysroot, inventory, entry)) return true;
  for (const Deployment& one : inventory.deployments) {
    if (!boot::same_entry(one.entry, entry.id) || is_same(inventory.references.recovery, one)) {
      continue;
    }
    if (one.state == DeploymentState::kBad) return true;
    return one.uki &&
           sysroot.directory().exists(sysroot::uki_path(one.digest, *one.uki)).value_or(false);
  }
  return false;
}

/// Removes an entry that nobody needs, or has it wait behind all others.
Result<> put_aside(const Sysroot& sysroot, boot::BootLoader& loader, const Inventory& inventory,
                   const boot::BootEntry& entry) {
  // It is the chosen one, which stays, if loader.conf could not be read a moment ago.
  const std::optional<std::string> chosen = CFS_TRY(loader.chosen());
  if (chosen && boot::same_entry(*chosen, entry.id)) return {};
  if (can_be_removed(sysroot, inventory, entry)) {
    Result<> removed = loader.remove(entry.id);
    return !removed && removed.error().code == ErrorCode::kBusy ? Result<>() : removed;
  }
  return entry.waits() ? Result<>() : loader.set_tries(entry.id, boot::kParked);
}

/// Another system's entry must not come before the way back once the tries of what is to boot are
/// used up. Errors: kNoWayBack (one would).
Result<> check_falls_back_to(const boot::BootLoader& loader, const Inventory& inventory,
                             const Deployment& way_back) {
  const std::vector<boot::BootEntry> entries = CFS_TRY(loader.list());
  if (!find_entry(entries, way_back)) return {};
  boot::AssumedTries tries;
  for (const boot::BootEntry& entry : entries) {
    const bool is_way_back = boot::same_entry(entry.id, way_back.entry);
    if (!is_way_back && is_ours(inventory, entry)) tries[entry.id] = boot::Tries{.done = 1};
    // As prepare_way_back() leaves it.
    if (is_way_back && has_proven_good(way_back)) tries[entry.id] = std::nullopt;
  }
  const std::string then = CFS_TRY(foreign_fallback(loader, inventory, tries));
  if (then.empty()) return {};
  return make_error(ErrorCode::kNoWayBack, "after a failure the boot loader would start '" + then +
                                               "', which is not of cfs, and not " +
                                               way_back.version)
      .with_hint(
          "remove that entry from the EFI system partition, or put '+0' behind its file's name, "
          "before '.efi'; '--no-way-back' goes on all the same");
}

}  // namespace

Result<> check_can_boot(Sysroot& sysroot, const boot::BootLoader& loader,
                        const Deployment& deployment) {
  CFS_TRY(check_image_is_complete(sysroot, deployment.digest));
  if (deployment.uki) {
    CFS_TRY(open_uki(sysroot, deployment));
  } else if (!CFS_TRY(has_whole_entry(loader, deployment))) {
    return make_error(ErrorCode::kNotFound, "there is neither a boot entry of " +
                                                deployment.version + " nor a copy of its UKI");
  }
  return {};
}

Result<> check_image_is_complete(Sysroot& sysroot, const verity::Digest& image_digest) {
  const std::vector<tree::ObjectReference> needed =
      CFS_TRY(objects_of_image(sysroot.objects(), image_digest));
  Progress progress("checking every object", needed.size(), Progress::Unit::kItems);
  for (const tree::ObjectReference& object : needed) {
    CFS_TRY(check_interrupted());
    progress.add(1);
    CFS_TRY_WITH("while checking the objects of image " + image_digest.hex(),
                 sysroot.objects().open_object(object.digest));
  }
  return {};
}

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

std::vector<Deployment> ways_back(const Inventory& inventory, const Deployment& next) {
  const References& references = inventory.references;
  std::vector<Deployment> ways;
  auto add = [&](const std::optional<Deployment>& one) {
    if (!one || one->id == next.id || one->collected) return;
    bool is_known = std::any_of(ways.begin(), ways.end(),
                                [&](const Deployment& way) { return way.id == one->id; });
    if (!is_known) ways.push_back(*one);
  };
  std::vector<Deployment> others = inventory.deployments;
  std::stable_sort(others.begin(), others.end(),
                   [](const Deployment& a, const Deployment& b) { return a.blessed > b.blessed; });
  auto add_proven = [&](DeploymentState state) {
    auto add_if = [&](const std::optional<Deployment>& one) {
      if (one && one->state == state && has_proven_good(*one)) add(one);
    };
    add_if(references.booted);
    add_if(references.previous);
    for (const Deployment& one : others) add_if(one);
  };
  add_proven(DeploymentState::kGood);
  if (next.state != DeploymentState::kGood) add_proven(DeploymentState::kBad);
  if (references.booted && references.booted->state != DeploymentState::kBad) {
    add(references.booted);
  }
  if (references.recovery && references.recovery->state != DeploymentState::kBad) {
    add(references.recovery);
  }
  return ways;
}

namespace {

/// The first of `ways` from `next` that is whole.
Result<Deployment> first_whole(Sysroot& sysroot, const boot::BootLoader& loader,
                               const Inventory& inventory, const Deployment& next,
                               std::vector<Deployment> ways) {
  std::string problems;
  for (Deployment& candidate : ways) {
    Result<> whole = check_can_boot(sysroot, loader, candidate);
    CFS_TRY(check_interrupted());
    if (whole) return std::move(candidate);
    if (!is_damage(whole.error())) return Error(std::move(whole).error());
    problems += "; " + candidate.version + ": " + whole.error().describe();
  }
  return as_far_as_readable(inventory, make_error(ErrorCode::kNoWayBack,
                                                  "nothing whole is left to fall back to from " +
                                                      next.version + problems))
      .with_hint("'cfs-deploy fsck --repair' mends what is damaged");
}

}  // namespace

Result<Deployment> whole_way_back(Sysroot& sysroot, const boot::BootLoader& loader,
                                  const Inventory& inventory, const Deployment& next) {
  return first_whole(sysroot, loader, inventory, next, ways_back(inventory, next));
}

Result<Deployment> whole_instead_of(Sysroot& sysroot, const boot::BootLoader& loader,
                                    const Inventory& inventory, const Deployment& bad) {
  std::vector<Deployment> ways = ways_back(inventory, bad);
  std::erase_if(ways, [](const Deployment& one) { return one.state == DeploymentState::kBad; });
  return first_whole(sysroot, loader, inventory, bad, std::move(ways));
}

Result<std::optional<Deployment>> startable_way_back(const boot::BootLoader& loader,
                                                     const Inventory& inventory,
                                                     const Deployment& next) {
  const std::vector<boot::BootEntry> entries = CFS_TRY(loader.list());
  for (Deployment& way : ways_back(inventory, next)) {
    const std::optional<boot::BootEntry> entry = find_entry(entries, way);
    if (!entry || entry->digest != way.digest) continue;
    if (!entry->waits()) return std::move(way);
  }
  return std::optional<Deployment>();
}

Result<std::string> foreign_fallback(const boot::BootLoader& loader, const Inventory& inventory,
                                     const boot::AssumedTries& tries) {
  const std::optional<std::string> then = CFS_TRY(loader.first_with(tries));
  const std::vector<boot::BootEntry> entries = CFS_TRY(loader.list());
  const bool is_foreign =
      then && std::none_of(entries.begin(), entries.end(), [&](const boot::BootEntry& entry) {
        return boot::same_entry(entry.id, *then) && is_ours(inventory, entry);
      });
  return is_foreign ? *then : std::string();
}

Result<uint64_t> esp_bytes_to_switch(const Sysroot& sysroot, const boot::BootLoader& loader,
                                     const Inventory& inventory, const Deployment& next,
                                     uint64_t uki_bytes) {
  const std::vector<Deployment> ways = ways_back(inventory, next);
  if (ways.empty() || !ways.front().uki) return uki_bytes;
  const Deployment& way = ways.front();
  const std::optional<boot::BootEntry> entry = find_entry(CFS_TRY(loader.list()), way);
  if (entry && entry->digest == way.digest) return uki_bytes;
  Result<struct stat> copy = sysroot.directory().stat(sysroot::uki_path(way.digest, *way.uki));
  if (!copy) return uki_bytes;
  const auto way_bytes = static_cast<uint64_t>(copy->st_size);
  const uint64_t freed_bytes = std::min(way_bytes, entry ? entry->size_bytes : 0);
  return std::max(way_bytes, way_bytes - freed_bytes + uki_bytes);
}

Result<uint64_t> removable_entry_bytes(const Sysroot& sysroot, const boot::BootLoader& loader,
                                       const Inventory& inventory) {
  std::vector<std::string> needed;
  const std::vector<Deployment> ways = ways_back(inventory, {});
  if (!ways.empty()) needed.push_back(ways.front().entry);
  uint64_t bytes = 0;
  for (const boot::BootEntry& entry : CFS_TRY(unneeded_entries(loader, inventory, needed))) {
    if (can_be_removed(sysroot, inventory, entry)) bytes += entry.size_bytes;
  }
  return bytes;
}

Result<> remove_unneeded_entries(const Sysroot& sysroot, boot::BootLoader& loader,
                                 const Inventory& inventory,
                                 const std::vector<std::string>& needed) {
  CFS_TRY(loader.remove_doubles());
  for (const boot::BootEntry& entry : CFS_TRY(unneeded_entries(loader, inventory, needed))) {
    CFS_TRY(put_aside(sysroot, loader, inventory, entry));
  }
  return {};
}

Result<std::vector<boot::BootEntry>> orphaned_entries(const Sysroot& sysroot,
                                                      const boot::BootLoader& loader,
                                                      const Inventory& inventory) {
  std::vector<boot::BootEntry> entries = CFS_TRY(unneeded_entries(loader, inventory, {}));
  std::erase_if(
      entries, [&](const boot::BootEntry& entry) { return !is_orphan(sysroot, inventory, entry); });
  return entries;
}

Result<> tidy_up_entries(const Sysroot& sysroot, boot::BootLoader& loader,
                         const Inventory& inventory) {
  const Deployment& booted = *inventory.references.booted;
  const std::optional<Deployment> way_back = CFS_TRY(startable_way_back(loader, inventory, booted));
  std::vector<std::string> needed;
  if (way_back) needed.push_back(way_back->entry);
  for (const boot::BootEntry& entry : CFS_TRY(unneeded_entries(loader, inventory, needed))) {
    // While nothing else could start in the place of a trial, a bad one is better than none.
    const bool is_bad =
        (booted.state == DeploymentState::kGood ||
         (booted.state != DeploymentState::kBad && way_back)) &&
        std::any_of(
            inventory.deployments.begin(), inventory.deployments.end(), [&](const Deployment& one) {
              return one.state == DeploymentState::kBad && boot::same_entry(one.entry, entry.id);
            });
    const bool goes_before = way_back && entry.tries && !entry.waits();
    if (is_bad || goes_before) CFS_TRY(put_aside(sysroot, loader, inventory, entry));
  }
  return {};
}

Result<Deployment> boot_next(Sysroot& sysroot, boot::BootLoader& loader, Inventory& inventory,
                             Deployment deployment, const SwitchOptions& options) {
  References& references = inventory.references;
  const bool is_running = is_same(references.booted, deployment);
  CFS_TRY(check_can_boot(sysroot, loader, deployment));
  std::optional<Deployment> way_back =
      CFS_TRY(find_way_back(sysroot, loader, inventory, deployment, options.way_back));

  const bool is_good = deployment.state == DeploymentState::kGood;
  if (way_back && !is_good && !is_running && options.way_back == WayBack::kRequired) {
    CFS_TRY(check_falls_back_to(loader, inventory, *way_back));
  }
  // What it had of tries before was given up with it.
  const bool begins_anew = !is_running && !is_good &&
                           (deployment.held || deployment.state == DeploymentState::kBad ||
                            deployment.state == DeploymentState::kFetched);
  const bool is_bad = deployment.state == DeploymentState::kBad;
  const bool stays_bad = is_bad && options.verdict == Verdict::kStands;
  if (!stays_bad) {
    deployment.held.reset();
    if (is_bad || deployment.state == DeploymentState::kFetched) {
      deployment.state = is_running ? DeploymentState::kTrial : DeploymentState::kStaged;
    }
  }
  CFS_TRY(save_deployment(sysroot, deployment));
  update_inventory(inventory, deployment);
  for (const Deployment& left : options.left) {
    CFS_TRY(save_deployment(sysroot, left));
    update_inventory(inventory, left);
  }
  if (!is_running) {
    CFS_TRY(set_reference(sysroot, Role::kStaged, deployment));
    references.staged = deployment;
  }

  std::vector<std::string> needed = {deployment.entry};
  if (way_back) {
    CFS_TRY_WITH("while preparing the way back to " + way_back->version,
                 prepare_way_back(sysroot, loader, *way_back));
    needed.push_back(way_back->entry);
  }
  CFS_TRY_WITH("while tidying up the boot entries",
               remove_unneeded_entries(sysroot, loader, inventory, needed));

  // With nothing to fall back to it is better tried for ever than given up.
  std::optional<unsigned> tries;
  if (!is_good && !stays_bad && way_back) tries = options.tries;
  if (deployment.uki) {
    UniqueFd uki = CFS_TRY(open_uki(sysroot, deployment));
    CFS_TRY_WITH("while writing the boot entry",
                 loader.install(deployment.entry, uki.get(), tries));
  }
  std::optional<boot::BootEntry> entry = find_entry(CFS_TRY(loader.list()), deployment);
  bool has_tries = entry && !entry->waits();
  bool is_counted = entry && entry->tries.has_value();
  // The running one keeps the counter that it has, while that lets it start: see above. One that
  // was good has none, and gets one when it is tried again after it was marked bad.
  bool was_given_up = !is_counted && !stays_bad && way_back && has_proven_good(*way_back);
  bool may_change = !is_running || was_given_up;
  bool is_used = begins_anew && is_counted && entry->tries->done > 0;
  bool keeps_counter = has_tries && (!may_change || is_counted == tries.has_value()) && !is_used;
  if (!keeps_counter) {
    CFS_TRY_WITH("while counting the boots", loader.set_tries(deployment.entry, tries));
  }
  CFS_TRY_WITH("while choosing the boot entry", loader.set_next(deployment.entry));
  CFS_TRY_WITH("while tidying up the boot entries",
               remove_unneeded_entries(sysroot, loader, inventory, needed));
  CFS_TRY(check_boots_next(loader, deployment));
  if (is_running) {
    CFS_TRY(remove_reference(sysroot, Role::kStaged));
    references.staged.reset();
  } else if (references.booted && !(way_back && is_same(references.booted, *way_back))) {
    std::optional<boot::BootEntry> running = find_entry(CFS_TRY(loader.list()), *references.booted);
    if (running && !running->waits()) CFS_TRY(loader.set_tries(running->id, boot::kParked));
  }
  return deployment;
}

Result<> end_trial(boot::BootLoader& loader, const Deployment& deployment) {
  const std::optional<boot::BootEntry> entry = find_entry(CFS_TRY(loader.list()), deployment);
  if (!entry || !entry->tries) return {};
  CFS_TRY_WITH("while ending the trial of " + deployment.version,
               loader.set_tries(deployment.entry, std::nullopt));
  return {};
}

Result<std::optional<Deployment>> next_deployment(const boot::BootLoader& loader,
                                                  const Inventory& inventory) {
  std::optional<boot::NextBoot> next = CFS_TRY(loader.next());
  std::optional<Deployment> found;
  for (const Deployment& one : inventory.deployments) {
    if (next && boot::same_entry(one.entry, next->id)) found = one;
  }
  return found;
}

Result<bool> has_whole_entry(const boot::BootLoader& loader, const Deployment& deployment) {
  std::optional<boot::BootEntry> entry = find_entry(CFS_TRY(loader.list()), deployment);
  return entry && entry->digest == deployment.digest;
}

Result<bool> boots_next(const boot::BootLoader& loader, const Deployment& deployment) {
  std::optional<boot::NextBoot> next = CFS_TRY(loader.next());
  if (!next || !boot::same_entry(next->id, deployment.entry)) return false;
  if (!CFS_TRY(loader.unseen_wish()).empty()) return false;
  return has_whole_entry(loader, deployment);
}

}  // namespace cfs::deployer
