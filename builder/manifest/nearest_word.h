// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace cfs::builder {

/// The word of `words` that `typed` was probably meant to be (few edits away), or empty.
[[nodiscard]] std::string nearest_word(std::string_view typed,
                                       std::span<const std::string_view> words);

}  // namespace cfs::builder
