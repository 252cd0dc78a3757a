// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace cfs {

/// Bytes of the UTF-8 character at the beginning of `text`; 0 when there is none. Spec: RFC 3629
/// §4.
[[nodiscard]] size_t utf8_character_size(std::string_view text);

/// What a program has said, fit for a terminal, a log and JSON: what is not UTF-8 becomes U+FFFD,
/// control characters other than line feeds and tabs become '?'.
[[nodiscard]] std::string printable_text(std::string_view text);

}  // namespace cfs
