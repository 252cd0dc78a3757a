// SPDX-License-Identifier: Apache-2.0
// Deployments that stay although nothing else needs them.
#pragma once

#include "deployer/command.h"

namespace cfs::deployer {

/// `cfs-deploy pin`
[[nodiscard]] RunCommand declare_pin(CLI::App& command);
/// `cfs-deploy unpin`
[[nodiscard]] RunCommand declare_unpin(CLI::App& command);
/// `cfs-deploy recovery`
[[nodiscard]] RunCommand declare_recovery(CLI::App& command);

}  // namespace cfs::deployer
