// SPDX-License-Identifier: Apache-2.0
//
//   0x00  DOS header: "MZ", at 0x3c the offset of ↓
//         "PE\0\0", COFF header, optional header (PE32+), data directories
//         section table, 40 bytes a section
//         ── SizeOfHeaders ──
//         content of the sections, each at a multiple of FileAlignment
//         symbols, certificates
#include "lib/boot/pe.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>

#include "lib/base/check.h"
#include "lib/base/little_endian.h"

namespace cfs::boot {
namespace {

constexpr size_t kPeOffsetField = 0x3c;
constexpr size_t kMaxSections = 96;  // "the Windows loader limits the number of sections to 96"
constexpr uint16_t kPe32PlusMagic = 0x20b;
constexpr uint64_t kPageSize = 4096;
constexpr uint32_t kInitializedDataReadable = 0x40000040;

/// Spec: Microsoft PE Format, "COFF File Header".
struct CoffHeader {
  char signature[4];          //  0
  le16 machine;               //  4
  le16 section_count;         //  6
  le32 timestamp;             //  8
  le32 symbol_table_offset;   // 12
  le32 symbol_count;          // 16
  le16 optional_header_size;  // 20
  le16 characteristics;       // 22
};
static_assert(sizeof(CoffHeader) == 24);

/// Spec: Microsoft PE Format, "Optional Header", PE32+, up to the data directory that matters here.
struct OptionalHeader {
  le16 magic;                      //   0
  uint8_t linker_version[2];       //   2
  le32 code_size;                  //   4
  le32 initialized_data_size;      //   8
  uint8_t unused_0c[20];           //  12
  le32 section_alignment;          //  32
  le32 file_alignment;             //  36
  uint8_t unused_28[16];           //  40
  le32 image_size;                 //  56
  le32 headers_size;               //  60
  le32 checksum;                   //  64
  uint8_t unused_44[40];           //  68
  le32 directory_count;            // 108
  uint8_t directories_0_to_3[32];  // 112
  le32 certificate_table_offset;   // 144
  le32 certificate_table_size;     // 148
};
static_assert(sizeof(OptionalHeader) == 152 && offsetof(OptionalHeader, checksum) == 64 &&
              offsetof(OptionalHeader, certificate_table_offset) == 144);
constexpr uint32_t kDirectoriesUpToCertificates = 5;

/// Spec: Microsoft PE Format, "Section Table".
struct SectionHeader {
  char name[8];           //  0
  le32 virtual_size;      //  8
  le32 virtual_address;   // 12
  le32 raw_size;          // 16
  le32 raw_offset;        // 20
  uint8_t unused_18[12];  // 24
  le32 characteristics;   // 36
};
static_assert(sizeof(SectionHeader) == 40);

Error corrupt(std::string what) {
  return make_error(ErrorCode::kCorrupt, "not a usable EFI program: " + std::move(what));
}

template <typename T>
T load(Bytes bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

template <typename T>
void store(std::vector<std::byte>& bytes, size_t offset, const T& value) {
  std::memcpy(bytes.data() + offset, &value, sizeof(T));
}

/// Where the headers lie; all ranges checked against `head`.
struct Layout {
  size_t coff_offset = 0;
  size_t optional_offset = 0;
  size_t table_offset = 0;
  CoffHeader coff;
  OptionalHeader optional;
};

Result<Layout> find_headers(Bytes head) {
  if (head.size() < kPeOffsetField + 4 || as_text(head.first(2)) != "MZ") {
    return corrupt("no DOS header");
  }
  Layout layout;
  layout.coff_offset = load<le32>(head, kPeOffsetField);
  if (layout.coff_offset % 4 != 0 || layout.coff_offset > head.size() ||
      head.size() - layout.coff_offset < sizeof(CoffHeader)) {
    return corrupt("no PE header");
  }
  layout.coff = load<CoffHeader>(head, layout.coff_offset);
  if (std::memcmp(layout.coff.signature, "PE\0\0", 4) != 0) return corrupt("no PE header");
  layout.optional_offset = layout.coff_offset + sizeof(CoffHeader);
  size_t optional_size = layout.coff.optional_header_size;
  if (optional_size < sizeof(OptionalHeader) ||
      head.size() - layout.optional_offset < optional_size) {
    return corrupt("optional header cut short");
  }
  layout.optional = load<OptionalHeader>(head, layout.optional_offset);
  if (layout.optional.magic != kPe32PlusMagic) return corrupt("not PE32+");
  auto is_power_of_two = [](uint32_t value) { return value != 0 && (value & (value - 1)) == 0; };
  if (!is_power_of_two(layout.optional.file_alignment) || layout.optional.file_alignment > 65536 ||
      !is_power_of_two(layout.optional.section_alignment)) {
    return corrupt("impossible alignment");
  }
  layout.table_offset = layout.optional_offset + optional_size;
  if (layout.coff.section_count > kMaxSections ||
      head.size() - layout.table_offset < layout.coff.section_count * sizeof(SectionHeader)) {
    return corrupt("section table cut short");
  }
  return layout;
}

SectionHeader section_header(Bytes head, const Layout& layout, size_t index) {
  return load<SectionHeader>(head, layout.table_offset + index * sizeof(SectionHeader));
}

}  // namespace

const PeSection* PeHeaders::find(std::string_view name) const {
  auto found = std::find_if(sections.begin(), sections.end(),
                            [&](const PeSection& section) { return section.name == name; });
  return found == sections.end() ? nullptr : &*found;
}

Result<PeHeaders> parse_pe(Bytes head, uint64_t file_size_bytes) {
  Layout layout = CFS_TRY(find_headers(head));
  PeHeaders headers;
  headers.section_alignment = layout.optional.section_alignment;
  headers.file_alignment = layout.optional.file_alignment;
  if (layout.optional.directory_count >= kDirectoriesUpToCertificates) {
    headers.certificate_table_size = layout.optional.certificate_table_size;
  }
  for (size_t i = 0; i < layout.coff.section_count; ++i) {
    SectionHeader raw = section_header(head, layout, i);
    PeSection section;
    section.name.assign(raw.name, ::strnlen(raw.name, sizeof(raw.name)));
    section.virtual_address = raw.virtual_address;
    section.virtual_size = raw.virtual_size;
    section.file_size = std::min<uint32_t>(raw.virtual_size, raw.raw_size);
    section.file_offset = section.file_size == 0 ? 0 : uint32_t{raw.raw_offset};
    if (uint64_t{section.file_offset} + section.file_size > file_size_bytes) {
      return corrupt("the file is cut short in section " + std::to_string(i));
    }
    if (section.name.empty() || headers.find(section.name) != nullptr) {
      return corrupt("section " + std::to_string(i) + " has no name of its own");
    }
    headers.sections.push_back(std::move(section));
  }
  return headers;
}

uint32_t pe_checksum(Bytes file, size_t field_offset) {
  // The sum of 16-bit words with the carries added back in, plus the length of the file.
  uint64_t sum = 0;
  auto byte_at = [&](size_t i) -> uint64_t {
    bool in_field = i >= field_offset && i < field_offset + 4;
    return in_field || i >= file.size() ? 0 : std::to_integer<uint64_t>(file[i]);
  };
  for (size_t i = 0; i < file.size(); i += 2) sum += byte_at(i) | byte_at(i + 1) << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint32_t>(sum + file.size());
}

Result<std::vector<std::byte>> append_sections(Bytes program,
                                               std::span<const NewSection> sections) {
  PeHeaders headers = CFS_TRY(parse_pe(program, program.size()));
  Layout layout = CFS_TRY(find_headers(program));
  if (headers.certificate_table_size != 0) {
    return make_error(ErrorCode::kInvalidInput, "the EFI program is signed already")
        .with_hint("use the unsigned one: sections go in before the signature");
  }

  // What lies behind the last section is debug symbols. Between sections it would be a gap, which
  // Authenticode hashes leave out or not, depending on the implementation: dropped.
  uint64_t file_end = layout.optional.headers_size;
  uint64_t memory_end = layout.optional.headers_size;
  uint64_t first_content = std::min<uint64_t>(layout.optional.headers_size, program.size());
  for (size_t i = 0; i < headers.sections.size(); ++i) {
    SectionHeader raw = section_header(program, layout, i);
    memory_end = std::max(memory_end, uint64_t{raw.virtual_address} + raw.virtual_size);
    if (raw.raw_size == 0) continue;
    file_end = std::max(file_end, uint64_t{raw.raw_offset} + raw.raw_size);
    first_content = std::min(first_content, uint64_t{raw.raw_offset});
  }
  if (file_end > program.size()) return corrupt("the file is cut short");
  size_t new_header_offset = layout.table_offset + headers.sections.size() * sizeof(SectionHeader);
  if (new_header_offset + sections.size() * sizeof(SectionHeader) > first_content ||
      headers.sections.size() + sections.size() > kMaxSections) {
    return make_error(ErrorCode::kInvalidInput, "the EFI program's headers have no room for " +
                                                    std::to_string(sections.size()) +
                                                    " more sections");
  }

  uint64_t alignment = std::max<uint64_t>(kPageSize, headers.section_alignment);
  uint64_t total_size = align_up(file_end, headers.file_alignment);
  for (const NewSection& section : sections) {
    total_size += align_up(section.content.size(), headers.file_alignment);
  }
  std::vector<std::byte> result;
  result.reserve(total_size);
  result.assign(program.begin(), program.begin() + static_cast<std::ptrdiff_t>(file_end));
  result.resize(align_up(file_end, headers.file_alignment));

  uint64_t initialized_data_size = layout.optional.initialized_data_size;
  for (size_t i = 0; i < sections.size(); ++i) {
    const NewSection& section = sections[i];
    std::string quoted = "section '" + std::string(section.name) + "'";
    SectionHeader header = {};
    if (section.name.empty() || section.name.size() > sizeof(header.name) ||
        section.content.empty()) {
      return make_error(ErrorCode::kInvalidInput, quoted + " has a bad name or no content");
    }
    auto same_name = [&](const NewSection& other) { return other.name == section.name; };
    if (headers.find(section.name) != nullptr ||
        std::any_of(sections.begin(), sections.begin() + static_cast<std::ptrdiff_t>(i),
                    same_name)) {
      return make_error(ErrorCode::kInvalidInput, quoted + " is there already");
    }
    uint64_t address = align_up(memory_end, alignment);
    uint64_t raw_size = align_up(section.content.size(), headers.file_alignment);
    memory_end = address + section.content.size();
    initialized_data_size += raw_size;
    if (memory_end + alignment > std::numeric_limits<uint32_t>::max() ||
        result.size() + raw_size > std::numeric_limits<uint32_t>::max()) {
      return make_error(ErrorCode::kInvalidInput, quoted + " makes the EFI program too large");
    }
    section.name.copy(header.name, sizeof(header.name));
    header.virtual_size = static_cast<uint32_t>(section.content.size());
    header.virtual_address = static_cast<uint32_t>(address);
    header.raw_size = static_cast<uint32_t>(raw_size);
    header.raw_offset = static_cast<uint32_t>(result.size());
    header.characteristics = kInitializedDataReadable;
    store(result, new_header_offset + i * sizeof(SectionHeader), header);
    result.insert(result.end(), section.content.begin(), section.content.end());
    result.resize(align_up(result.size(), headers.file_alignment));
  }
  CFS_CHECK(result.size() == total_size);

  layout.coff.section_count = static_cast<uint16_t>(headers.sections.size() + sections.size());
  layout.coff.symbol_table_offset = 0;
  layout.coff.symbol_count = 0;
  layout.optional.initialized_data_size = static_cast<uint32_t>(initialized_data_size);
  layout.optional.image_size =
      static_cast<uint32_t>(align_up(memory_end, headers.section_alignment));
  store(result, layout.coff_offset, layout.coff);
  store(result, layout.optional_offset, layout.optional);
  size_t checksum_offset = layout.optional_offset + offsetof(OptionalHeader, checksum);
  store(result, checksum_offset, le32(pe_checksum(result, checksum_offset)));
  return result;
}

}  // namespace cfs::boot
