// SPDX-License-Identifier: Apache-2.0
// The programs of the host that make partitions and empty file systems.
#pragma once

#include <string>

#include "lib/base/result.h"

namespace cfs::disk {

/// Absolute path of `name`, looked for in $PATH and then in /usr/sbin and /sbin, which an ordinary
/// user's $PATH lacks. Errors: kNotFound, the hint names the Debian `package`.
[[nodiscard]] Result<std::string> find_program(const std::string& name, const std::string& package);

}  // namespace cfs::disk
