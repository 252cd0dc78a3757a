// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "deployer/environment.h"

namespace cfs::deployer {

/// The command `cfs-deploy`. `arguments` without the program's name. Returns the exit status when
/// nothing failed: 0, or 10 when there was nothing to do.
[[nodiscard]] Result<int> run(std::vector<std::string> arguments, const Environment& environment);

}  // namespace cfs::deployer
