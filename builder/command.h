// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "lib/base/command_io.h"
#include "lib/base/result.h"

namespace cfs::builder {

/// The command `cfs-build` (CommandFunction of lib/command/program.h).
/// Errors: kUsage for a wrong command line, else those of what was asked for.
[[nodiscard]] Result<int> run(const std::vector<std::string>& arguments, const Io& io);

/// Where cfs-mount-root lies: next to the program `executable`, in ../lib/cfs from there
/// (installed) or ../initramfs (build tree). kNotFound otherwise, with the places looked at.
[[nodiscard]] Result<std::string> find_mount_root(const std::string& executable);

}  // namespace cfs::builder
