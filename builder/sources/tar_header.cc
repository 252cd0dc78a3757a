// SPDX-License-Identifier: Apache-2.0
//
// What GNU tar takes for a number and for a header (the essay is in tar_reader.cc):
//
//   numbers     octal, or base-256 after a byte 80 or ff (hex). A field of blanks is refused, where
//               GNU tar goes on with -1; so are base-64 numbers of 1999.
//   checksum    the sum of the bytes, signed or unsigned.
#include "builder/sources/tar_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>
#include <numeric>

#include "lib/base/check.h"

namespace cfs::builder {
namespace {

bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/// The sum of a header's bytes, the field of the checksum counted as blanks.
template <typename Char>
int64_t sum_of(Bytes block) {
  auto add = [](int sum, std::byte b) { return sum + static_cast<Char>(b); };
  Bytes checksum = block.subspan(offsetof(TarHeader, checksum), sizeof(TarHeader::checksum));
  return std::accumulate(block.begin(), block.end(), 0, add) -
         std::accumulate(checksum.begin(), checksum.end(), 0, add) +
         ' ' * static_cast<int>(checksum.size());
}

}  // namespace

std::optional<int64_t> parse_tar_number(std::string_view field) {
  auto first = static_cast<unsigned char>(field[0]);
  if (first == 0x80 || first == 0xff) {  // base-256, two's complement
    int64_t value = first == 0x80 ? 0 : -1;
    for (char c : field.substr(1)) {
      if (value > (std::numeric_limits<int64_t>::max() >> 8) ||
          value < (std::numeric_limits<int64_t>::min() >> 8)) {
        return std::nullopt;
      }
      value = value * 256 + static_cast<unsigned char>(c);
    }
    return value;
  }
  size_t at = field[0] == '\0' ? 1 : 0;  // written by some old tar for what did not fit
  while (at < field.size() && is_blank(field[at])) ++at;
  if (at == field.size()) return std::nullopt;
  int64_t value = 0;
  for (; at < field.size() && field[at] >= '0' && field[at] <= '7'; ++at) {
    value = value * 8 + (field[at] - '0');  // at most 12 digits
  }
  if (at < field.size() && field[at] != '\0' && !is_blank(field[at])) return std::nullopt;
  return value;
}

std::optional<uint64_t> parse_tar_decimal(std::string_view text) {
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  if (value > uint64_t{std::numeric_limits<int64_t>::max()}) return std::nullopt;
  return value;
}

bool is_all_zero(Bytes bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{}; });
}

bool is_tar_header(Bytes head) {
  CFS_CHECK(head.size() >= kTarBlockBytes);
  Bytes block = head.first(kTarBlockBytes);
  TarHeader header;
  std::memcpy(&header, block.data(), sizeof(header));
  if (static_cast<unsigned char>(header.checksum[0]) >= 0x80) return false;  // octal only
  std::optional<int64_t> expected = parse_tar_number(tar_field(header.checksum));
  // Old writers of Sun and NeXT added signed bytes.
  return expected &&
         (sum_of<unsigned char>(block) == *expected || sum_of<signed char>(block) == *expected);
}

TarFormat tar_format_of(const TarHeader& header) {
  std::string_view magic = tar_field(header.magic);
  if (magic.starts_with(std::string_view("ustar\0", 6))) return TarFormat::kPosix;
  if (magic == std::string_view("ustar  \0", 8)) return TarFormat::kGnu;
  return TarFormat::kV7;
}

std::string tar_name_of(const TarHeader& header) {
  std::string_view text = tar_text(tar_field(header.name));
  std::string_view prefix = tar_text(tar_field(header.prefix));
  if (tar_format_of(header) != TarFormat::kPosix || prefix.empty()) return std::string(text);
  return fmt::format("{}/{}", prefix, text);
}

}  // namespace cfs::builder
