// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "lib/base/bytes.h"

namespace cfs {

/// Lower-case hex, two characters a byte.
[[nodiscard]] std::string to_hex(Bytes bytes);

/// Value of one hex digit of either case, or -1.
[[nodiscard]] constexpr int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// Fills `out` from exactly 2 × out.size() hex digits of either case. False on anything else.
[[nodiscard]] bool from_hex(std::string_view text, std::span<std::byte> out);

}  // namespace cfs
