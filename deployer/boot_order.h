// SPDX-License-Identifier: Apache-2.0
// Which deployment boots next, and which one if that fails.
#pragma once

#include "deployer/sysroot/references.h"
#include "lib/boot/boot_loader.h"

namespace cfs::deployer {

/// What a switch may do when nothing verified is left to fall back to.
enum class WayBack { kRequired, kNotRequired };

/// What becomes of the word that a deployment is bad, when a switch goes to it.
enum class Verdict {
  kForgotten,  ///< it is tried again
  kStands,     ///< it is bad, and only better than what the switch turns away from
};

struct SwitchOptions {
  WayBack way_back = WayBack::kRequired;
  unsigned tries = 3;  ///< boots that a deployment has that was not proven good yet
  /// Deployments from which the switch turns away, as their records are to be. They are saved
  /// before the choice: else a switch that was cut off would be undone by the next update.
  std::vector<Deployment> left = {};
  Verdict verdict = Verdict::kForgotten;
};

/// Succeeds if the image of that digest and every object it refers to are in the store, each proven
/// by its digest. Errors: kNotFound, kDigestMismatch, kNoVerity, kCorrupt; kInterrupted.
[[nodiscard]] Result<> check_image_is_complete(Sysroot& sysroot, const verity::Digest& image);

/// The copy of the deployment's UKI in the sysroot, proven to be what the record says and to boot
/// the image. Errors: kNotFound (no copy); kDigestMismatch, kCorrupt.
[[nodiscard]] Result<UniqueFd> open_uki(const Sysroot& sysroot, const Deployment& deployment);

/// Succeeds if everything that a deployment needs to boot is there and right, or can be put in
/// place from what is. Errors: those of check_image_is_complete() and open_uki(); kNotFound
/// (neither entry nor copy of the UKI).
[[nodiscard]] Result<> check_can_boot(Sysroot& sysroot, const boot::BootLoader& loader,
                                      const Deployment& deployment);

/// The deployments that could boot in place of `next`, the best first: good ones (the running one,
/// the previous one, the last one that was proven good); unless `next` is good, those that were
/// until somebody marked them bad, in the same order; then the running one and the recovery if they
/// are not bad.
[[nodiscard]] std::vector<Deployment> ways_back(const Inventory& inventory, const Deployment& next);

/// The first of ways_back() that is whole, as check_can_boot() finds. Errors: kNoWayBack (none is);
/// kInterrupted; those that is_damage() does not take for damage.
[[nodiscard]] Result<Deployment> whole_way_back(Sysroot& sysroot, const boot::BootLoader& loader,
                                                const Inventory& inventory, const Deployment& next);

/// whole_way_back() without those that are bad: where a switch away from `bad` goes.
[[nodiscard]] Result<Deployment> whole_instead_of(Sysroot& sysroot, const boot::BootLoader& loader,
                                                  const Inventory& inventory,
                                                  const Deployment& bad);

/// The first of ways_back() that the boot loader would start by itself, with `next` used up: its
/// entry is whole and waits behind no other. Errors: those of the boot loader.
[[nodiscard]] Result<std::optional<Deployment>> startable_way_back(const boot::BootLoader& loader,
                                                                   const Inventory& inventory,
                                                                   const Deployment& next);

/// BootLoader::first_with() of these counters, if it is another system's entry: neither of a
/// deployment of the inventory nor one that pins an image. Empty: it is not.
[[nodiscard]] Result<std::string> foreign_fallback(const boot::BootLoader& loader,
                                                   const Inventory& inventory,
                                                   const boot::AssumedTries& tries);

/// Makes a deployment boot next, with its tries if it was not proven good yet, and another one boot
/// when it has used them up. Before anything changes both are verified: image and objects measured,
/// UKI hashed. Their boot entries are put in place, or back, from the copies of their UKIs; all
/// other entries are parked behind them. `deployment` is saved, `inventory` brought up to date.
/// Returns the deployment as it is then.
///
/// Can be repeated: after a power cut at any instant the device boots what it booted before or
/// `deployment`, and calling it again does the rest.
/// Errors: kNoWayBack (WayBack::kRequired, another deployment runs, or it is not known which does
/// and something in the inventory is damaged, and nothing of ways_back() is whole; but for a switch
/// from a bad one to a good one. Or an entry that is not of cfs would start before the way back);
/// kNotFound, kDigestMismatch, kNoVerity, kCorrupt (`deployment` is not whole); kNoSpace (the ESP);
/// kInterrupted; those of the boot loader.
[[nodiscard]] Result<Deployment> boot_next(Sysroot& sysroot, boot::BootLoader& loader,
                                           Inventory& inventory, Deployment deployment,
                                           const SwitchOptions& options);

/// What must be free on the ESP for a switch to `next`, whose entry takes `uki_bytes` (0: it is in
/// place). If the entry of the best of ways_back() is not in place it is written first, and takes
/// the room of a damaged one after that.
[[nodiscard]] Result<uint64_t> esp_bytes_to_switch(const Sysroot& sysroot,
                                                   const boot::BootLoader& loader,
                                                   const Inventory& inventory,
                                                   const Deployment& next, uint64_t uki_bytes);

/// What remove_unneeded_entries() would remove from the boot loader before another release comes.
[[nodiscard]] Result<uint64_t> removable_entry_bytes(const Sysroot& sysroot,
                                                     const boot::BootLoader& loader,
                                                     const Inventory& inventory);

/// Removes from the boot loader what neither `needed` nor the choice, the running deployment or the
/// recovery need and what can be put back, and entries of deployments that nothing is left of;
/// parks the others. Nor does it leave doubles. `needed`: entry ids.
[[nodiscard]] Result<> remove_unneeded_entries(const Sysroot& sysroot, boot::BootLoader& loader,
                                               const Inventory& inventory,
                                               const std::vector<std::string>& needed);

/// The entries of deployments that this sysroot has neither a record nor the image of, but for what
/// is chosen: they cannot boot.
[[nodiscard]] Result<std::vector<boot::BootEntry>> orphaned_entries(const Sysroot& sysroot,
                                                                    const boot::BootLoader& loader,
                                                                    const Inventory& inventory);

/// Finishes a switch that was cut off. What neither the choice nor the running deployment nor a way
/// back needs goes, as by remove_unneeded_entries(): a bad one's entry, unless nothing else would
/// boot in the place of a trial, and one with tries, which would boot before the way back. All
/// others stay. `inventory`: something of it is running.
[[nodiscard]] Result<> tidy_up_entries(const Sysroot& sysroot, boot::BootLoader& loader,
                                       const Inventory& inventory);

/// Takes the boot counter of the deployment's entry away, if it has one: it starts from then on
/// whenever nothing else is asked for.
[[nodiscard]] Result<> end_trial(boot::BootLoader& loader, const Deployment& deployment);

/// The deployment that boots next, as the boot loader will decide; nothing when that is none of
/// the inventory. It may be a damaged one.
[[nodiscard]] Result<std::optional<Deployment>> next_deployment(const boot::BootLoader& loader,
                                                                const Inventory& inventory);

/// True if the deployment boots next and its boot entry pins its image. False too while somebody
/// asks the firmware for an entry that is not seen (BootLoader::unseen_wish()).
[[nodiscard]] Result<bool> boots_next(const boot::BootLoader& loader, const Deployment& deployment);
/// True if there is a boot entry of the deployment that pins its image.
[[nodiscard]] Result<bool> has_whole_entry(const boot::BootLoader& loader,
                                           const Deployment& deployment);

}  // namespace cfs::deployer
