// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "lib/base/command_io.h"
#include "lib/base/result.h"

namespace cfs::tools {

/// mkcomposefs, compatible with the program of the same name of the composefs project
/// (COMPOSEFS-FORMAT.md §17): makes an image from a directory or a dump. `arguments`: what follows
/// the program's name. Every error is exit status 1, as the original has it.
[[nodiscard]] Result<int> run_mkcomposefs(const std::vector<std::string>& arguments, const Io& io);

}  // namespace cfs::tools
