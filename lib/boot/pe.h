// SPDX-License-Identifier: Apache-2.0
// PE32+ files, as far as EFI programs need them: their section table, and sections added at the
// end. Spec: Microsoft PE Format; UEFI 2.10 §2.1.1 "UEFI Images".
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/bytes.h"
#include "lib/base/result.h"

namespace cfs::boot {

/// Enough of a file's start to hold every header that parse_pe() accepts.
constexpr size_t kMaxPeHeadBytes = 64 * 1024;

struct PeSection {
  std::string name;              ///< 1..8 bytes, without the padding
  uint32_t virtual_address = 0;  ///< where it is loaded, relative to the image base
  uint32_t virtual_size = 0;     ///< bytes in memory
  uint32_t file_offset = 0;      ///< where its bytes lie in the file
  uint32_t file_size = 0;        ///< bytes to read: ≤ virtual_size, without padding
};

/// The headers of a PE32+ file.
struct PeHeaders {
  std::vector<PeSection> sections;  ///< in the order of the table
  uint32_t section_alignment = 0;
  uint32_t file_alignment = 0;
  uint32_t certificate_table_size = 0;  ///< 0: not signed

  /// The section called `name`, or null.
  [[nodiscard]] const PeSection* find(std::string_view name) const;
};

/// Reads the headers from `head`, the first bytes of a file of `file_size_bytes` (all of it, or at
/// least kMaxPeHeadBytes). Every section of the answer lies inside the file; none is called the
/// same as another.
/// Errors: kCorrupt. Trust: input may be anything.
[[nodiscard]] Result<PeHeaders> parse_pe(Bytes head, uint64_t file_size_bytes);

struct NewSection {
  std::string_view name;  ///< 1..8 bytes
  Bytes content;          ///< not empty
};

/// A copy of the EFI program `program` with read-only data sections appended, in the given order,
/// each at the next page behind the one before. What lies behind the last section (debug symbols)
/// is dropped. VirtualSize is the exact size of the content: the systemd stub goes by it.
/// SizeOfImage, SizeOfInitializedData and CheckSum are set anew. Errors: kCorrupt (not a PE32+
/// file); kInvalidInput (signed, no room in the headers, a section of that name is there, result
/// over 4 GiB).
[[nodiscard]] Result<std::vector<std::byte>> append_sections(Bytes program,
                                                             std::span<const NewSection> sections);

/// The PE checksum of a whole file, with the checksum field at `field_offset` taken as zero.
[[nodiscard]] uint32_t pe_checksum(Bytes file, size_t field_offset);

}  // namespace cfs::boot
