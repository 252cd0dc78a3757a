// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "lib/base/result.h"

namespace cfs::builder {

/// cfs-build, without its process: `arguments` are argv[1] and on. Results go to `out`.
/// Errors: kUsage for a wrong command line, else those of what was asked for.
[[nodiscard]] Result<> run(const std::vector<std::string>& arguments, std::ostream& out);

/// Where cfs-mount-root lies: next to the program `executable`, in ../lib/cfs from there
/// (installed) or ../initramfs (build tree). kNotFound otherwise, with the places looked at.
[[nodiscard]] Result<std::string> find_mount_root(const std::string& executable);

}  // namespace cfs::builder
