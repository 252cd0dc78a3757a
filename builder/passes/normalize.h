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
  kMachineId,         ///< /etc/machine-id empty (systemd makes a transient one), no D-Bus copy
  kHostLeaks,         ///< name, DNS servers and package mirrors of the build host
  kSshHostKeys,       ///< keys that would be the same on every device
  kAptLists,          ///< apt's lists, caches and logs of the installation
  kLogs,              ///< logs of the installation
  kDpkgBackups,       ///< *-old files, /etc/passwd- and the like, /var/backups
  kLdconfigCache,     ///< /var/cache/ldconfig/aux-cache: inode numbers and times inside
  kPythonCache,       ///< __pycache__: source times inside
  kShadowLastChange,  ///< the day of the build in /etc/shadow
  kRandomSeed,        ///< seeds that would be the same on every device
};

struct NormalizePassName {
  NormalizePass pass;
  std::string_view name;  ///< as in the manifest
};

/// Every pass, in the order in which they run. The default of a manifest is all of them.
[[nodiscard]] std::span<const NormalizePassName> normalize_passes();

/// Removes what a fresh installation has from the machine that made it. Run on the tree of an
/// installer's output, before later sources may add files of the same names on purpose.
void remove_host_leaks(tree::Tree& tree);

/// Runs `passes` (kHostLeaks excepted: remove_host_leaks) and empties the directories whose
/// contents never are part of an image: /dev, /proc, /run, /sys, /tmp, /var/tmp.
[[nodiscard]] Result<> normalize(tree::Tree& tree, Contents& contents,
                                 std::span<const NormalizePass> passes, int64_t source_date_epoch);

/// No time stamp after `source_date_epoch`; the first name of a file holds it; link counts as they
/// are. The last step on a tree.
void settle(tree::Tree& tree, int64_t source_date_epoch);

}  // namespace cfs::builder
