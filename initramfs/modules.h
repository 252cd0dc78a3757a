// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"

namespace cfs::initramfs {

/// The paths in a module list: one a line, in load order; empty lines and lines that begin with `#`
/// say nothing.
[[nodiscard]] std::vector<std::string> parse_module_list(std::string_view text);

/// Loads the uncompressed module at `path`. Already loaded is success. Spec: finit_module(2).
[[nodiscard]] Result<> load_module(const std::string& path);

}  // namespace cfs::initramfs
