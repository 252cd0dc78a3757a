// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace cfs::builder {

/// What a reader of the YAML `text` waits for the end of at `line` and `column` (both from 0):
/// "open since line 3, column 7: '['". The innermost bracket or quote; where there is none, the
/// block that the place is in, by its first line. Empty when nothing is open. Best effort: for
/// messages about text that is not well-formed.
[[nodiscard]] std::string describe_open_yaml(std::string_view text, size_t line, size_t column);

}  // namespace cfs::builder
