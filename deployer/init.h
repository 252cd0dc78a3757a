// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "deployer/command.h"

namespace cfs::deployer {

/// `cfs-deploy init`
[[nodiscard]] RunCommand declare_init(CLI::App& command);

}  // namespace cfs::deployer
