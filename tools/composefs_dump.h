// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "lib/base/command_io.h"
#include "lib/base/result.h"

namespace cfs::tools {

/// composefs-dump, compatible with the test program of the same name of the composefs project
/// (COMPOSEFS-FORMAT.md §17): reads an image and writes it again, with the version in its header.
[[nodiscard]] Result<int> run_composefs_dump(const std::vector<std::string>& arguments,
                                             const Io& io);

}  // namespace cfs::tools
