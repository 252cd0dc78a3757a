// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace cfs::builder {

/// Returns true if the absolute `path` matches `pattern`: `?` is one character and `*` any number
/// of them, but not '/'; `**` is any number of characters of any kind.
[[nodiscard]] bool glob_match(std::string_view pattern, std::string_view path);

}  // namespace cfs::builder
