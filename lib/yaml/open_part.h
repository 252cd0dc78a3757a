// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace cfs::yaml {

/// Says which bracket, quote or block of the YAML `text` is open at `line` and `column` (both from
/// 0): "open since line 3, column 7: '['". The innermost bracket or quote is named, or the block
/// that the place is in, by its first line, where there is neither. Empty when nothing is open.
/// Best effort: for messages about text that is not well-formed.
[[nodiscard]] std::string describe_open_part(std::string_view text, size_t line, size_t column);

}  // namespace cfs::yaml
