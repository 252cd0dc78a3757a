// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "lib/base/bytes.h"

namespace cfs {

/// Lower-case hex, two characters a byte.
[[nodiscard]] std::string to_hex(Bytes bytes);

/// Writes 2 × bytes.size() lower-case digits to `out`.
void write_hex(Bytes bytes, char* out);

namespace internal {
inline constexpr auto kHexValues = [] {
  std::array<int8_t, 256> values{};
  for (size_t i = 0; i < values.size(); ++i) values[i] = -1;
  for (size_t i = 0; i < 10; ++i) values['0' + i] = static_cast<int8_t>(i);
  for (size_t i = 0; i < 6; ++i) {
    values['a' + i] = static_cast<int8_t>(10 + i);
    values['A' + i] = static_cast<int8_t>(10 + i);
  }
  return values;
}();
}  // namespace internal

/// Value of one hex digit of either case, or -1.
[[nodiscard]] constexpr int hex_digit(char c) {
  return internal::kHexValues[static_cast<unsigned char>(c)];
}

/// Fills `out` from exactly 2 × out.size() hex digits of either case. False on anything else.
[[nodiscard]] bool from_hex(std::string_view text, std::span<std::byte> out);

}  // namespace cfs
