// SPDX-License-Identifier: Apache-2.0
#include "lib/base/hex.h"

namespace cfs {

void write_hex(Bytes bytes, char* out) {
  static constexpr char kDigits[] = "0123456789abcdef";
  for (std::byte byte : bytes) {
    *out++ = kDigits[std::to_integer<unsigned>(byte) >> 4];
    *out++ = kDigits[std::to_integer<unsigned>(byte) & 15U];
  }
}

std::string to_hex(Bytes bytes) {
  std::string text(2 * bytes.size(), '\0');
  write_hex(bytes, text.data());
  return text;
}

bool from_hex(std::string_view text, std::span<std::byte> out) {
  if (text.size() != out.size() * 2) return false;
  int wrong = 0;  // negative as soon as one digit is
  for (size_t i = 0; i < out.size(); ++i) {
    int high = hex_digit(text[2 * i]);
    int low = hex_digit(text[2 * i + 1]);
    wrong |= high | low;
    out[i] = static_cast<std::byte>(static_cast<unsigned>(high) << 4 | static_cast<unsigned>(low));
  }
  return wrong >= 0;
}

}  // namespace cfs
