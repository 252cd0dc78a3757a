// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "deployer/environment.h"
#include "deployer/sysroot/reason.h"
#include "deployer/sysroot/sysroot.h"

namespace cfs::deployer {

/// Why the last boot of `image` may have ended before it was proven healthy, by what it left
/// behind: the failure that cfs-mount-root wrote down, the hardware watchdog's word, the kernel's
/// last words in pstore. `ran_cfs_deploy`: what is said when there is nothing of these.
/// Reason::when is left to the caller.
/// Errors: kInterrupted. What cannot be read is no evidence.
[[nodiscard]] Result<Reason> evidence_of_failure(const Sysroot& sysroot,
                                                 const Environment& environment,
                                                 const verity::Digest& image, bool ran_cfs_deploy);

/// Ids of the deployments that cfs-mount-root has given up for `running`, which it asked the boot
/// loader for: since the last boot that got further, each had been stopped, or not come up.
/// Empty: it did not ask for `running`. Errors: kInterrupted.
[[nodiscard]] Result<std::vector<std::string>> given_up_early(const Sysroot& sysroot,
                                                              const std::string& running);

/// Removes what cfs-mount-root wrote down, once it has been taken over. A missing one is fine.
[[nodiscard]] Result<> forget_boot_failure(Sysroot& sysroot);

}  // namespace cfs::deployer
