// SPDX-License-Identifier: Apache-2.0
// The header blocks of a tar archive and what their fields say.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/bytes.h"

namespace cfs::builder {

constexpr size_t kTarBlockBytes = 512;

/// A path or a link target of an archive has at most so many bytes.
constexpr size_t kMaxTarNameBytes = 64 << 10;

enum class TarFormat { kV7, kGnu, kPosix };

/// The header of a member: v7 up to `linkname`, all of it in POSIX formats.
/// Spec: POSIX.1-2017 pax, "ustar Interchange Format".
struct TarHeader {
  char name[100];      //   0
  char mode[8];        // 100
  char uid[8];         // 108
  char gid[8];         // 116
  char size[12];       // 124
  char mtime[12];      // 136
  char checksum[8];    // 148
  char typeflag;       // 156
  char linkname[100];  // 157
  char magic[8];       // 257: with the version
  char uname[32];      // 265
  char gname[32];      // 297
  char devmajor[8];    // 329
  char devminor[8];    // 337
  char prefix[155];    // 345
  char padding[12];    // 500
};
static_assert(sizeof(TarHeader) == kTarBlockBytes && alignof(TarHeader) == 1);
static_assert(offsetof(TarHeader, checksum) == 148 && offsetof(TarHeader, magic) == 257);
static_assert(offsetof(TarHeader, prefix) == 345);

struct GnuTarExtent {
  char offset[12];  //  0
  char size[12];    // 12
};

/// GNU tar's header, from offset 345 on. Spec: GNU tar manual, "Basic Tar Format".
struct GnuTarHeader {
  char before[345];         //   0
  char atime[12];           // 345
  char ctime[12];           // 357
  char volume_offset[12];   // 369
  char unused[5];           // 381
  GnuTarExtent extents[4];  // 386
  char is_extended;         // 482
  char real_size[12];       // 483
  char padding[17];         // 495
};
static_assert(sizeof(GnuTarHeader) == kTarBlockBytes && alignof(GnuTarHeader) == 1);
static_assert(offsetof(GnuTarHeader, extents) == 386 && offsetof(GnuTarHeader, real_size) == 483);

/// Follows a GnuTarHeader or another one of these where `is_extended` is set.
struct GnuTarExtentBlock {
  GnuTarExtent extents[21];  //   0
  char is_extended;          // 504
  char padding[7];           // 505
};
static_assert(sizeof(GnuTarExtentBlock) == kTarBlockBytes && alignof(GnuTarExtentBlock) == 1);

/// All bytes of a field.
template <size_t N>
std::string_view tar_field(const char (&bytes)[N]) {
  return {bytes, N};
}

/// The text in a field: up to the first NUL.
[[nodiscard]] inline std::string_view tar_text(std::string_view field) {
  return field.substr(0, field.find('\0'));
}

/// The number in a field of a header, or nothing if it holds none. `field` is not empty.
[[nodiscard]] std::optional<int64_t> parse_tar_number(std::string_view field);

/// A number as pax records and sparse maps have it: decimal digits and nothing else, below 2^63.
[[nodiscard]] std::optional<uint64_t> parse_tar_decimal(std::string_view text);

[[nodiscard]] bool is_all_zero(Bytes bytes);

/// Returns true if `head` begins with the header of a member, by its checksum. `head` has
/// kTarBlockBytes at least.
[[nodiscard]] bool is_tar_header(Bytes head);

[[nodiscard]] TarFormat tar_format_of(const TarHeader& header);

/// The name in a header, with its prefix; may be empty.
[[nodiscard]] std::string tar_name_of(const TarHeader& header);

}  // namespace cfs::builder
