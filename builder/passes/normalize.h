// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "builder/manifest/manifest.h"
#include "builder/rootfs.h"
#include "lib/base/result.h"
#include "lib/tree/tree.h"

namespace cfs::builder {

/// Removes what a fresh installation has from the machine that made it. Run on the tree of an
/// installer's output, before later sources may add files of the same names on purpose.
void remove_host_leaks(tree::Tree& tree);

/// Runs `passes` (kHostLeaks excepted: remove_host_leaks) and empties the directories whose
/// contents never are part of an image: /dev, /proc, /run, /sys, /tmp, /var/tmp.
[[nodiscard]] Result<> normalize(Rootfs& rootfs, std::span<const NormalizePass> passes,
                                 int64_t source_date_epoch);

/// No time stamp after `source_date_epoch`; the first name of a file holds it; link counts as they
/// are. The last step on a tree.
void settle(tree::Tree& tree, int64_t source_date_epoch);

}  // namespace cfs::builder
