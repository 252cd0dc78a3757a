// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "deployer/environment.h"
#include "lib/base/result.h"

namespace cfs::deployer {

/// What `systemctl` prints for these arguments, at most 4 KiB.
/// Errors: kSubprocess (it cannot be run, fails, or does not end within a minute; with its words).
[[nodiscard]] Result<std::string> systemctl(const Environment& environment,
                                            std::vector<std::string> arguments);

}  // namespace cfs::deployer
