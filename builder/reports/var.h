// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "lib/sysroot/var_policy.h"

namespace cfs::builder {

/// var.txt (docs/FORMATS.md): what an image ships for /var. `shipped`: as separate_var() returns
/// it.
[[nodiscard]] std::string var_report(const std::vector<sysroot::VarRule>& shipped);

/// One line of the build's summary: how much of it devices that have it will keep as it is. Empty
/// when there is nothing.
[[nodiscard]] std::string var_summary(const std::vector<sysroot::VarRule>& shipped);

}  // namespace cfs::builder
