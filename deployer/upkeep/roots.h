// SPDX-License-Identifier: Apache-2.0
// What garbage collection must not touch.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "deployer/sysroot/references.h"
#include "lib/boot/boot_loader.h"

namespace cfs::deployer {

/// What stays, and what goes.
struct Roots {
  std::vector<Deployment> kept;       ///< all that they need stays
  std::vector<Deployment> collected;  ///< nothing else needs what only they need
  /// Of `kept`; and of what runs, and of entries of the boot loader, even without a record.
  std::set<verity::Digest> images;
};

/// Chooses. Kept are those that are running, staged, the way back, the recovery, pinned, or fetched
/// and waiting; those that boot next or that the boot loader could start by itself; and of the good
/// ones the last, until there are `keep` besides the recovery and the pinned ones. If there is no
/// good one, the last of those that were until somebody marked them bad.
/// Errors: kCorrupt (a reference, or a record that something refers to, cannot be read);
/// kNotFound (nothing would be kept); those of the boot loader. Then nothing may be collected.
[[nodiscard]] Result<Roots> find_roots(const Inventory& inventory, const boot::BootLoader& loader,
                                       const Environment& environment, uint64_t keep);

}  // namespace cfs::deployer
