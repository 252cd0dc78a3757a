// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace cfs {

/// The word of `words` that `typed` was probably meant to be, the first of those that are equally
/// near. Empty when none is near: more than half of the longer word would have to change.
[[nodiscard]] std::string nearest_word(std::string_view typed,
                                       std::span<const std::string_view> words);

/// "did you mean 'update'?", or empty when no word is near.
[[nodiscard]] std::string did_you_mean(std::string_view typed,
                                       std::span<const std::string_view> words);

}  // namespace cfs
