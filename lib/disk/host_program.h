// SPDX-License-Identifier: Apache-2.0
// The programs of the host that make partitions and empty file systems.
#pragma once

#include <string>

#include "lib/base/result.h"

namespace cfs::disk {

/// As cfs::find_program(), whose error gets a hint that names the Debian `package`.
[[nodiscard]] Result<std::string> find_program(const std::string& name, const std::string& package);

}  // namespace cfs::disk
