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

}  // namespace cfs::builder
