// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "deployer/command.h"

namespace cfs::deployer {

/// `apply-var`: deliver_var() for the running release. cfs-var.service runs it early at boot.
/// Errors: kNotFound (the system was not booted by cfs).
[[nodiscard]] RunCommand declare_apply_var(CLI::App& command);

}  // namespace cfs::deployer
