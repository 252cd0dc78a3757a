// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"

namespace cfs::builder {

/// The names in `path`, without empty ones and ".".
[[nodiscard]] std::vector<std::string> path_components(std::string_view path);

/// "a/b" from "./a//b/", "/a/b" or "a/./b"; empty for the root.
/// Errors: kInvalidInput for a path with a `..` component or a NUL.
[[nodiscard]] Result<std::string> normal_path(std::string_view path);

}  // namespace cfs::builder
