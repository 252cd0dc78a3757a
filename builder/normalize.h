// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "builder/contents.h"
#include "lib/base/result.h"
#include "lib/tree/tree.h"

namespace cfs::builder {

/// One kind of difference between two builds of the same input, and its removal.
enum class NormalizePass {
  kMachineId,         ///< /etc/machine-id empty, no D-Bus copy of it
  kHostLeaks,         ///< hostname, hosts, resolv.conf and apt configuration of the build host
  kSshHostKeys,       ///< keys that would be the same on every device
  kAptState,          ///< apt lists, caches and logs of the installation
  kDpkgBackups,       ///< *-old and *-new files, diversions and status backups
  kLdconfigCache,     ///< /var/cache/ldconfig/aux-cache: inode numbers and times
  kPythonCache,       ///< __pycache__: source times inside
  kShadowLastChange,  ///< the day of the build in /etc/shadow
  kRandomSeed,        ///< seeds and random state
};

struct NormalizePassName {
  NormalizePass pass;
  std::string_view name;  ///< as in the manifest
};

/// Every pass, in the order in which they run. The default of a manifest is all of them.
[[nodiscard]] std::span<const NormalizePassName> normalize_passes();

/// Runs `passes` on `tree`; then clamps every time stamp to `source_date_epoch` at the latest, and
/// counts links. Afterwards the tree is the same whenever and wherever it was built.
[[nodiscard]] Result<> normalize(tree::Tree& tree, Contents& contents,
                                 std::span<const NormalizePass> passes, int64_t source_date_epoch);

}  // namespace cfs::builder
