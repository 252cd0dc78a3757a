// SPDX-License-Identifier: Apache-2.0
//
// What an archive means. Five formats share one layout of 512 bytes and disagree about much of it,
// and most readers answer doubt with silence. Here GNU tar, extracting as root, is the judge: what
// it makes of an archive is what comes out, or the archive is refused with a reason. The rules:
//
//   numbers     octal, or base-256 after a byte 80 or ff (hex). A field of blanks is refused, where
//               GNU tar goes on with -1; so are base-64 numbers of 1999.
//   checksum    the sum of the bytes, signed or unsigned.
//   names       bytes, whatever 'hdrcharset' says. Header (with its prefix if the magic is
//   POSIX's),
//               then L and K, then pax 'path' and 'linkpath', then GNU.sparse.name: the later ones
//               win. A file whose name ends with a slash is a directory.
//   no content  Only regular files have content. A size in the header of anything else is ignored,
//               as old archives have one; a size in its pax header is refused.
//   pax         Of a repeated keyword the last counts. A 'g' header replaces the one before: GNU
//   tar
//               forgets the old one, POSIX keeps what the new one lacks, so that a new one which
//               lacks something is refused. Names, sizes and xattrs in a 'g' header are refused.
//   keywords    Unknown ones of POSIX and of GNU, SCHILY, LIBARCHIVE, SUN and RHT are refused,
//   since
//               some of them change the content. Those of other vendors are ignored.
//   xattrs      SCHILY names have %3D and %25 decoded, as GNU tar does; LIBARCHIVE names every
//               %XX. bsdtar writes both, with the escapes of the second in both. Where the two ways
//               to read give different names or values, the entry is refused.
//   sparse      The extents must ascend, end where the file ends (an empty one stands for a hole
//               there) and have exactly the bytes that the archive has for the member.
//   types       V (label) is skipped. D (directory of an incremental dump) is a directory if the
//               dump left nothing out of it. M, N, A, E, I, star's sparse files and all others are
//               refused; GNU tar would make files of most.
//   the end     GNU tar stops at the first block of zeros and takes a missing one for an end.
//               Here one block must be there, and nothing but zeros may follow.
#include "builder/sources/tar_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <limits>
#include <map>
#include <numeric>

#include "lib/base/check.h"
#include "lib/base/hex.h"
#include "lib/base/interrupt.h"

namespace cfs::builder {
namespace {

constexpr size_t kBlockBytes = 512;

// The header block (v7 up to linkname, POSIX pax "ustar Interchange Format" for all):
//
//     0 name      100 mode  108 uid  116 gid  124 size  136 mtime  148 checksum
//   156 typeflag  157 linkname  257 magic  265 uname  297 gname  329 devmajor  337 devminor
//   345 prefix (POSIX) or atime, ctime, sparse extents (GNU)
struct PosixHeader {
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
static_assert(sizeof(PosixHeader) == kBlockBytes && alignof(PosixHeader) == 1);
static_assert(offsetof(PosixHeader, checksum) == 148 && offsetof(PosixHeader, magic) == 257);
static_assert(offsetof(PosixHeader, prefix) == 345);

struct GnuExtent {
  char offset[12];  //  0
  char size[12];    // 12
};

/// GNU tar's header, from offset 345 on.
struct GnuHeader {
  char before[345];        //   0
  char atime[12];          // 345
  char ctime[12];          // 357
  char volume_offset[12];  // 369
  char unused[5];          // 381
  GnuExtent extents[4];    // 386
  char is_extended;        // 482
  char real_size[12];      // 483
  char padding[17];        // 495
};
static_assert(sizeof(GnuHeader) == kBlockBytes && alignof(GnuHeader) == 1);
static_assert(offsetof(GnuHeader, extents) == 386 && offsetof(GnuHeader, real_size) == 483);

/// Follows a GnuHeader or another one of these where is_extended is set.
struct GnuExtentBlock {
  GnuExtent extents[21];  //   0
  char is_extended;       // 504
  char padding[7];        // 505
};
static_assert(sizeof(GnuExtentBlock) == kBlockBytes && alignof(GnuExtentBlock) == 1);

enum class Format { kV7, kGnu, kPosix };

template <size_t N>
std::string_view field(const char (&bytes)[N]) {
  return {bytes, N};
}

/// Up to the first NUL.
std::string_view text_of(std::string_view bytes) { return bytes.substr(0, bytes.find('\0')); }

bool all_zero(Bytes bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{}; });
}

bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/// The number in a field of a header, or nothing if it holds none.
std::optional<int64_t> parse_field(std::string_view bytes) {
  auto first = static_cast<unsigned char>(bytes[0]);
  if (first == 0x80 || first == 0xff) {  // base-256, two's complement
    int64_t value = first == 0x80 ? 0 : -1;
    for (char c : bytes.substr(1)) {
      if (value > (std::numeric_limits<int64_t>::max() >> 8) ||
          value < (std::numeric_limits<int64_t>::min() >> 8)) {
        return std::nullopt;
      }
      value = value * 256 + static_cast<unsigned char>(c);
    }
    return value;
  }
  size_t at = bytes[0] == '\0' ? 1 : 0;  // written by some old tar for what did not fit
  while (at < bytes.size() && is_blank(bytes[at])) ++at;
  if (at == bytes.size()) return std::nullopt;
  int64_t value = 0;
  for (; at < bytes.size() && bytes[at] >= '0' && bytes[at] <= '7'; ++at) {
    value = value * 8 + (bytes[at] - '0');  // at most 12 digits
  }
  if (at < bytes.size() && bytes[at] != '\0' && !is_blank(bytes[at])) return std::nullopt;
  return value;
}

/// Decimal digits and nothing else.
std::optional<uint64_t> parse_decimal(std::string_view text) {
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  if (value > uint64_t{std::numeric_limits<int64_t>::max()}) return std::nullopt;
  return value;
}

std::optional<int64_t> parse_signed_decimal(std::string_view text) {
  bool negative = text.starts_with('-');
  std::optional<uint64_t> value = parse_decimal(text.substr(negative ? 1 : 0));
  if (!value) return std::nullopt;
  auto result = static_cast<int64_t>(*value);
  return negative ? -result : result;
}

struct Time {
  int64_t seconds = 0;
  uint32_t nanoseconds = 0;
};

/// "-1.5" is half a second before -1. What is finer than a nanosecond is rounded down.
std::optional<Time> parse_time(std::string_view text) {
  bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  size_t point = std::min(text.find('.'), text.size());
  std::optional<uint64_t> whole = parse_decimal(text.substr(0, point));
  if (!whole) return std::nullopt;
  uint32_t nanoseconds = 0;
  bool more = false;
  std::string_view fraction = text.substr(std::min(point + 1, text.size()));
  for (size_t i = 0; i < std::max<size_t>(fraction.size(), 9); ++i) {
    char digit = i < fraction.size() ? fraction[i] : '0';
    if (digit < '0' || digit > '9') return std::nullopt;
    if (i < 9) {
      nanoseconds = nanoseconds * 10 + static_cast<uint32_t>(digit - '0');
    } else {
      more = more || digit != '0';
    }
  }
  auto seconds = static_cast<int64_t>(*whole);
  if (!negative) return Time{seconds, nanoseconds};
  seconds = -seconds;
  if (more) ++nanoseconds;
  if (nanoseconds == 0) return Time{seconds, 0};
  return Time{seconds - 1, 1'000'000'000 - nanoseconds};
}

/// Undoes what GNU tar does to '=' and '%'.
std::string decode_gnu_name(std::string_view text) {
  std::string name;
  while (!text.empty()) {
    if (text.starts_with("%3D") || text.starts_with("%25")) {
      name += text[1] == '3' ? '=' : '%';
      text.remove_prefix(3);
    } else {
      name += text[0];
      text.remove_prefix(1);
    }
  }
  return name;
}

/// Undoes what libarchive does: every byte may be %XX.
std::optional<std::string> decode_url(std::string_view text) {
  std::string name;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      name += text[i];
      continue;
    }
    if (text.size() - i < 3) return std::nullopt;
    int high = hex_digit(text[i + 1]);
    int low = hex_digit(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    name += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return name;
}

/// Spec: RFC 4648, section 4; libarchive leaves the padding out.
std::optional<std::string> decode_base64(std::string_view text) {
  for (int i = 0; i < 2 && text.ends_with('='); ++i) text.remove_suffix(1);
  if (text.size() % 4 == 1) return std::nullopt;
  static constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  uint32_t bits = 0;
  unsigned count = 0;
  for (char c : text) {
    size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> count & 0xff);
  }
  return bytes;
}

/// What the records of extended headers say about an entry.
struct PaxAttributes {
  std::optional<std::string> path;
  std::optional<std::string> link_path;
  std::optional<uint64_t> size;
  std::optional<int64_t> uid;
  std::optional<int64_t> gid;
  std::optional<Time> mtime;
  std::optional<uint64_t> device_major;
  std::optional<uint64_t> device_minor;
  std::map<std::string, std::string, std::less<>> xattrs;  ///< of SCHILY
  std::map<std::string, std::string, std::less<>> libarchive_xattrs;
  std::optional<std::string> selinux_label;
  std::optional<std::string> access_acl;
  std::optional<std::string> default_acl;
  std::optional<std::string> dump_directory;

  bool is_sparse = false;  ///< has any record of GNU.sparse
  std::optional<std::string> sparse_name;
  std::optional<uint64_t> sparse_major;
  std::optional<uint64_t> sparse_minor;
  std::optional<uint64_t> sparse_real_size;
  std::optional<uint64_t> sparse_count;
  std::optional<uint64_t> sparse_offset;  ///< version 0.0: waits for its size
  std::vector<TarEntry::Extent> sparse_extents;
  bool has_sparse_pairs = false;
  bool has_sparse_map = false;
};

enum class PaxScope { kEntry, kGlobal };

Error bad_record(std::string_view key, std::string_view value, std::string_view what) {
  constexpr size_t kShownBytes = 60;
  std::string shown(value.substr(0, kShownBytes));
  if (value.size() > kShownBytes) shown += "…";
  return make_error(ErrorCode::kCorrupt,
                    fmt::format("the pax record '{}={}' {}", key, shown, what));
}

/// Takes the records of an extended header into a PaxAttributes. Errors name the record only.
class PaxParser {
 public:
  PaxParser(PaxScope scope, PaxAttributes& attributes) : scope_(scope), out_(attributes) {}

  /// Spec: POSIX pax, "pax Extended Header": "LENGTH KEY=VALUE\n", LENGTH counts itself.
  Result<> parse(std::string_view body) {
    while (!body.empty()) {
      if (all_zero(as_bytes(body))) return {};  // padding that some writers count
      size_t length = 0;
      auto [end, error] = std::from_chars(body.data(), body.data() + body.size(), length);
      auto digits = static_cast<size_t>(end - body.data());
      if (error != std::errc() || length > body.size() || length < digits + 2 ||
          body[digits] != ' ' || body[length - 1] != '\n') {
        return make_error(ErrorCode::kCorrupt, "a pax header is malformed");
      }
      std::string_view record = body.substr(digits + 1, length - digits - 2);
      size_t equals = record.find('=');
      if (equals == 0 || equals == std::string_view::npos ||
          record.substr(0, equals).find('\0') != std::string_view::npos) {
        return make_error(ErrorCode::kCorrupt, "a pax header has a record without a keyword");
      }
      CFS_TRY(add(record.substr(0, equals), record.substr(equals + 1)));
      body.remove_prefix(length);
    }
    if (out_.sparse_offset) {
      return make_error(ErrorCode::kCorrupt, "a pax header has an extent without a size");
    }
    return {};
  }

 private:
  Result<> add(std::string_view key, std::string_view value) {
    // Keywords that a 'g' header may have.
    if (key == "mtime") return set(out_.mtime, key, value, parse_time(value));
    if (key == "uid") return set(out_.uid, key, value, parse_signed_decimal(value));
    if (key == "gid") return set(out_.gid, key, value, parse_signed_decimal(value));
    if (is_ignored(key)) return {};
    if (key == "hdrcharset") {
      if (value == "BINARY" || value == "ISO-IR 10646 2000 UTF-8") return {};
      return bad_record(key, value, "names an unknown character set");
    }
    if (key == "GNU.volume.size" || key == "GNU.volume.offset" || key == "GNU.volume.filename" ||
        key == "SCHILY.offset") {
      return bad_record(key, value,
                        "belongs to an archive of several volumes, which is not supported");
    }
    if (scope_ == PaxScope::kGlobal && is_understood(key)) {
      return bad_record(key, value, "stands in a global header, where GNU tar does not apply it");
    }

    if (key == "path") return set_text(out_.path, key, value);
    if (key == "linkpath") return set_text(out_.link_path, key, value);
    if (key == "size") return set(out_.size, key, value, parse_decimal(value));
    if (key == "SCHILY.devmajor") return set(out_.device_major, key, value, parse_decimal(value));
    if (key == "SCHILY.devminor") return set(out_.device_minor, key, value, parse_decimal(value));
    if (key == "SCHILY.acl.access") return set_acl(out_.access_acl, key, value);
    if (key == "SCHILY.acl.default") return set_acl(out_.default_acl, key, value);
    if (key == "GNU.dumpdir") {
      out_.dump_directory = value;
      return {};
    }
    if (key.starts_with("GNU.sparse.")) return add_sparse(key, value);
    if (key.starts_with(kSchilyXattr)) {
      std::string name = decode_gnu_name(key.substr(kSchilyXattr.size()));
      if (name.empty()) return bad_record(key, value, "has no name of an extended attribute");
      out_.xattrs[name] = value;
      return {};
    }
    if (key.starts_with(kLibarchiveXattr)) {
      std::optional<std::string> name = decode_url(key.substr(kLibarchiveXattr.size()));
      std::optional<std::string> decoded = decode_base64(value);
      if (!name || name->empty() || name->find('\0') != std::string::npos || !decoded) {
        return bad_record(key, value, "is malformed");
      }
      out_.libarchive_xattrs[*name] = *std::move(decoded);
      return {};
    }
    if (key == "RHT.security.selinux") {
      // The text; in the attribute itself setfilecon(3) puts a NUL behind it.
      if (value.empty()) return bad_record(key, value, "is malformed");
      out_.selinux_label = std::string(value) + '\0';
      return {};
    }
    if (key == "SCHILY.acl.ace" || key == "SCHILY.acl.type") {
      if (key == "SCHILY.acl.type" && value.starts_with("posix")) return {};
      return bad_record(key, value,
                        "is of an NFSv4 access control list, which Linux file systems lack");
    }
    return unknown(key, value);
  }

  /// Keywords that say nothing about what an image holds.
  static bool is_ignored(std::string_view key) {
    static constexpr std::string_view kIgnored[] = {
        "atime",
        "charset",
        "comment",
        "ctime",
        "gname",
        "uname",
        "GNU.volume.label",
        "LIBARCHIVE.creationtime",
        "LIBARCHIVE.symlinktype",
        "SCHILY.archtype",
        "SCHILY.ddev",
        "SCHILY.dev",
        "SCHILY.dino",
        "SCHILY.fflags",
        "SCHILY.ino",
        "SCHILY.nlink",
        "SCHILY.release",
    };
    return std::find(std::begin(kIgnored), std::end(kIgnored), key) != std::end(kIgnored) ||
           key.starts_with("SCHILY.volhdr.");
  }

  static bool is_understood(std::string_view key) {
    return key == "path" || key == "linkpath" || key == "size" || key == "RHT.security.selinux" ||
           key.starts_with("GNU.") || key.starts_with("SCHILY.") || key.starts_with("LIBARCHIVE.");
  }

  /// A keyword that this file does not name.
  static Result<> unknown(std::string_view key, std::string_view value) {
    size_t point = key.find('.');
    if (point == std::string_view::npos) {
      return bad_record(key, value, "is unknown and may change what the entry is");
    }
    for (std::string_view vendor :
         {"GNU", "LIBARCHIVE", "RHT", "SCHILY", "SUN", "realtime", "security"}) {
      if (key.substr(0, point) == vendor) {
        return bad_record(key, value, "is unknown and may change what the entry is");
      }
    }
    return {};
  }

  template <typename T>
  Result<> set(std::optional<T>& out, std::string_view key, std::string_view value,
               std::optional<T> parsed) {
    if (!parsed) return bad_record(key, value, "is malformed");
    out = parsed;
    return {};
  }

  Result<> set_text(std::optional<std::string>& out, std::string_view key, std::string_view value) {
    if (value.empty() || value.find('\0') != std::string_view::npos) {
      return bad_record(key, value, "is malformed");
    }
    if (value.size() > kMaxTarNameBytes) {
      return bad_record(key, value, fmt::format("is longer than {} bytes", kMaxTarNameBytes));
    }
    out = value;
    return {};
  }

  Result<> set_acl(std::optional<std::string>& out, std::string_view key, std::string_view value) {
    if (value.find('\0') != std::string_view::npos) return bad_record(key, value, "is malformed");
    out = value;
    return {};
  }

  Result<> add_sparse(std::string_view full_key, std::string_view value) {
    out_.is_sparse = true;
    std::string_view key = full_key.substr(std::string_view("GNU.sparse.").size());
    if (key == "major") return set(out_.sparse_major, full_key, value, parse_decimal(value));
    if (key == "minor") return set(out_.sparse_minor, full_key, value, parse_decimal(value));
    if (key == "name") return set_text(out_.sparse_name, full_key, value);
    if (key == "size" || key == "realsize") {
      return set(out_.sparse_real_size, full_key, value, parse_decimal(value));
    }
    if (key == "numblocks") return set(out_.sparse_count, full_key, value, parse_decimal(value));
    if (key == "offset") {
      if (out_.sparse_offset) return bad_record(full_key, value, "follows another offset");
      out_.has_sparse_pairs = true;
      return set(out_.sparse_offset, full_key, value, parse_decimal(value));
    }
    if (key == "numbytes") {
      std::optional<uint64_t> size = parse_decimal(value);
      if (!size || !out_.sparse_offset) return bad_record(full_key, value, "is malformed");
      CFS_TRY(add_extent(*out_.sparse_offset, *size));
      out_.sparse_offset.reset();
      return {};
    }
    if (key == "map") {
      if (out_.has_sparse_map) out_.sparse_extents.clear();
      out_.has_sparse_map = true;
      return add_map(full_key, value);
    }
    return unknown(full_key, value);
  }

  /// "OFFSET,SIZE,OFFSET,SIZE".
  Result<> add_map(std::string_view key, std::string_view value) {
    std::string_view rest = value;
    bool more = true;
    auto next_number = [&] {
      size_t comma = std::min(rest.find(','), rest.size());
      std::optional<uint64_t> number = parse_decimal(rest.substr(0, comma));
      more = comma < rest.size();
      rest.remove_prefix(more ? comma + 1 : comma);
      return number;
    };
    while (more) {
      std::optional<uint64_t> offset = next_number();
      std::optional<uint64_t> size = next_number();
      if (!offset || !size) return bad_record(key, value, "is malformed");
      CFS_TRY(add_extent(*offset, *size));
    }
    return {};
  }

  Result<> add_extent(uint64_t offset, uint64_t size) {
    if (out_.sparse_extents.size() == kMaxTarSparseExtents) {
      return make_error(ErrorCode::kCorrupt, fmt::format("a sparse file has more than {} extents",
                                                         kMaxTarSparseExtents));
    }
    out_.sparse_extents.push_back({offset, size});
    return {};
  }

  static constexpr std::string_view kSchilyXattr = "SCHILY.xattr.";
  static constexpr std::string_view kLibarchiveXattr = "LIBARCHIVE.xattr.";

  PaxScope scope_;
  PaxAttributes& out_;
};

/// The sum of a header's bytes, the field of the checksum counted as blanks.
template <typename Char>
int64_t sum_of(Bytes block) {
  auto add = [](int sum, std::byte b) { return sum + static_cast<Char>(b); };
  Bytes checksum = block.subspan(offsetof(PosixHeader, checksum), sizeof(PosixHeader::checksum));
  return std::accumulate(block.begin(), block.end(), 0, add) -
         std::accumulate(checksum.begin(), checksum.end(), 0, add) +
         ' ' * static_cast<int>(checksum.size());
}

}  // namespace

bool is_tar_header(Bytes head) {
  CFS_CHECK(head.size() >= kBlockBytes);
  Bytes block = head.first(kBlockBytes);
  PosixHeader header;
  std::memcpy(&header, block.data(), sizeof(header));
  if (static_cast<unsigned char>(header.checksum[0]) >= 0x80) return false;  // octal only
  std::optional<int64_t> expected = parse_field(field(header.checksum));
  // Old writers of Sun and NeXT added signed bytes.
  return expected &&
         (sum_of<unsigned char>(block) == *expected || sum_of<signed char>(block) == *expected);
}

struct TarReader::State {
  ByteSource source;
  std::string name;
  Bytes piece;            ///< of the source, not yet used
  uint64_t position = 0;  ///< in the archive, of the front of `piece`
  PaxAttributes global;
  bool has_global = false;
  bool ended = false;
  TarEntry entry;

  // Content of the current entry.
  std::vector<TarEntry::Extent> extents;
  size_t next_extent = 0;          ///< the first that is not used up
  uint64_t content_position = 0;   ///< in the file
  uint64_t stored_left_bytes = 0;  ///< of the member in the archive
  uint64_t padding_bytes = 0;      ///< behind it

  /// Headers that belong to the next entry.
  struct Pending {
    std::optional<std::string> long_name;
    std::optional<std::string> long_link;
    std::optional<PaxAttributes> pax;
    [[nodiscard]] bool any() const { return long_name || long_link || pax; }
  };

  Error corrupt(const std::string& what) const {
    return make_error(ErrorCode::kCorrupt, fmt::format("{}: {}", name, what));
  }
  Error bad_entry(const std::string& what) const {
    return corrupt(fmt::format("entry '{}': {}", entry.path, what));
  }
  Error cut_off() const {
    return corrupt(fmt::format("cut off after the last complete entry, at byte {}", position));
  }
  Error cut_off_inside(const std::string& what) const {
    return corrupt(fmt::format("cut off inside {}, at byte {}", what, position));
  }

  /// False at the end of the source.
  Result<bool> fetch() {
    if (piece.empty()) piece = CFS_TRY(source());
    return !piece.empty();
  }

  Bytes take(size_t size) {
    Bytes taken = piece.first(size);
    piece = piece.subspan(size);
    position += size;
    return taken;
  }

  /// Fills `out` as far as the source goes; returns how far.
  Result<size_t> read_raw(std::span<std::byte> out) {
    size_t used = 0;
    while (used < out.size()) {
      if (!CFS_TRY(fetch())) break;
      Bytes taken = take(std::min(piece.size(), out.size() - used));
      std::memcpy(out.data() + used, taken.data(), taken.size());
      used += taken.size();
    }
    return used;
  }

  Result<> skip_raw(uint64_t size, const std::string& what) {
    while (size > 0) {
      if (!CFS_TRY(fetch())) return cut_off_inside(what);
      size -= take(static_cast<size_t>(std::min<uint64_t>(piece.size(), size))).size();
    }
    return {};
  }

  /// Reads a block that must be there.
  template <typename Block>
  Result<Block> read_block(const std::string& what) {
    static_assert(sizeof(Block) == kBlockBytes);
    Block block;
    size_t size = CFS_TRY(read_raw({reinterpret_cast<std::byte*>(&block), sizeof(block)}));
    if (size < kBlockBytes) return cut_off_inside(what);
    return block;
  }

  /// The content of a header's member, with its padding read too.
  Result<std::string> read_body(const PosixHeader& header, const char* what, size_t limit_bytes) {
    uint64_t size = CFS_TRY(size_of(header, what));
    if (size > limit_bytes) {
      return corrupt(fmt::format("{} of {} bytes at byte {}; {} are supported", what, size,
                                 position - kBlockBytes, limit_bytes));
    }
    // In pieces: what is not there takes no memory.
    constexpr size_t kStepBytes = 64 << 10;
    std::string body;
    while (body.size() < size) {
      size_t step = std::min(kStepBytes, static_cast<size_t>(size) - body.size());
      size_t old_size = body.size();
      body.resize(old_size + step);
      auto room = std::as_writable_bytes(std::span(body)).subspan(old_size);
      if (CFS_TRY(read_raw(room)) < step) return cut_off_inside(what);
    }
    CFS_TRY(skip_raw(align_up(size, kBlockBytes) - size, what));
    return body;
  }

  Result<uint64_t> size_of(const PosixHeader& header, const std::string& what) const {
    std::optional<int64_t> size = parse_field(field(header.size));
    if (!size || *size < 0) {
      return corrupt(fmt::format("{} has no valid size, at byte {}", what, position - kBlockBytes));
    }
    return static_cast<uint64_t>(*size);
  }

  Result<std::string> read_long_name(const PosixHeader& header, const char* what) {
    std::string body = CFS_TRY(read_body(header, what, kMaxTarNameBytes + 1));
    std::string_view text = text_of(body);
    if (text.empty() || !all_zero(as_bytes(body).subspan(text.size()))) {
      return corrupt(fmt::format("{} is malformed, before byte {}", what, position));
    }
    return std::string(text);
  }

  Result<PaxAttributes> read_pax(const PosixHeader& header, PaxScope scope) {
    uint64_t start = position - kBlockBytes;
    std::string body = CFS_TRY(read_body(header, "a pax header", kMaxTarPaxBytes));
    PaxAttributes attributes;
    if (scope == PaxScope::kEntry) attributes = global;
    Result<> parsed = PaxParser(scope, attributes).parse(body);
    if (!parsed) return corrupt(fmt::format("{}, at byte {}", parsed.error().message, start));
    return attributes;
  }

  Result<> read_global(const PosixHeader& header) {
    PaxAttributes next = CFS_TRY(read_pax(header, PaxScope::kGlobal));
    const char* lost = global.mtime && !next.mtime ? "mtime"
                       : global.uid && !next.uid   ? "uid"
                       : global.gid && !next.gid   ? "gid"
                                                   : nullptr;
    if (lost != nullptr) {
      return corrupt(fmt::format(
          "a global pax header leaves out '{}' of the one before, which GNU tar forgets "
          "and POSIX keeps, before byte {}",
          lost, position));
    }
    global = std::move(next);
    return {};
  }

  /// Reads to the end: a writer at the other end of a pipe can finish, the checksums of a
  /// compressed stream are looked at, and archives that were joined are found.
  Result<> finish_archive() {
    uint64_t end = position;
    while (CFS_TRY(fetch())) {
      CFS_TRY(check_interrupted());
      if (!all_zero(piece)) {
        return corrupt(fmt::format("there is data after the end of the archive at byte {}", end))
            .with_hint("archives that were joined must be sources of their own");
      }
      (void)take(piece.size());
    }
    return {};
  }

  Result<> finish_content() {
    if (stored_left_bytes > 0 || padding_bytes > 0) {
      CFS_TRY(skip_raw(stored_left_bytes + padding_bytes, fmt::format("'{}'", entry.path)));
    }
    stored_left_bytes = 0;
    padding_bytes = 0;
    extents.clear();
    next_extent = 0;
    content_position = 0;
    return {};
  }

  static Format format_of(const PosixHeader& header) {
    std::string_view magic = field(header.magic);
    if (magic.starts_with(std::string_view("ustar\0", 6))) return Format::kPosix;
    if (magic == std::string_view("ustar  \0", 8)) return Format::kGnu;
    return Format::kV7;
  }

  static std::string name_of(const PosixHeader& header, Format format) {
    std::string_view text = text_of(field(header.name));
    std::string_view prefix = text_of(field(header.prefix));
    if (format != Format::kPosix || prefix.empty()) return std::string(text);
    return fmt::format("{}/{}", prefix, text);
  }

  Result<> make_entry(const PosixHeader& header, Pending pending);
  Result<> set_type(const PosixHeader& header, Format format);
  Result<> set_content(const PosixHeader& header, Format format, PaxAttributes& pax);
  Result<> set_owner_and_time(const PosixHeader& header, const PaxAttributes& pax);
  Result<> set_device(const PosixHeader& header, Format format, const PaxAttributes& pax);
  Result<> set_xattrs(PaxAttributes& pax);
  Result<> check_dump_directory(std::string_view list) const;
  Result<> read_gnu_extents(const PosixHeader& header);
  Result<> read_pax_extents(PaxAttributes& pax);
  Result<uint64_t> read_map_number(std::string& block, size_t& at);
  Result<> check_extents() const;
};

Result<> TarReader::State::set_type(const PosixHeader& header, Format format) {
  using Type = TarEntry::Type;
  switch (header.typeflag) {
    case '\0':
    case '0':
    case '7':  // contiguous
      entry.type = entry.path.back() == '/' ? Type::kDirectory : Type::kRegular;
      return {};
    case 'S':
      if (format != Format::kGnu)
        return bad_entry("is a sparse file in a format that is not GNU's");
      entry.type = Type::kRegular;
      return {};
    case '1':
      entry.type = Type::kHardLink;
      return {};
    case '2':
      entry.type = Type::kSymlink;
      return {};
    case '3':
      entry.type = Type::kCharacterDevice;
      return {};
    case '4':
      entry.type = Type::kBlockDevice;
      return {};
    case '5':
    case 'D':
      entry.type = Type::kDirectory;
      return {};
    case '6':
      entry.type = Type::kFifo;
      return {};
    case 'M':
      return bad_entry(
                 "continues a file of another volume; archives of several volumes are not "
                 "supported")
          .with_hint("join the volumes with GNU tar and write one archive");
    case 'N':
      return bad_entry("is a list of long names of a GNU tar before 1.11, which is not supported");
    case 'A':
      return bad_entry("is a Solaris access control list, which is not supported");
    case 'E':
      return bad_entry("is a Solaris extended attribute, which is not supported");
    default:
      return bad_entry(fmt::format("is of the unknown type '{}'", header.typeflag));
  }
}

Result<> TarReader::State::set_owner_and_time(const PosixHeader& header, const PaxAttributes& pax) {
  constexpr int64_t kMaxId = std::numeric_limits<uint32_t>::max() - 1;  // the last is no owner
  std::optional<int64_t> mode = parse_field(field(header.mode));
  if (!mode) return bad_entry("has no valid mode");
  entry.permissions = static_cast<uint32_t>(*mode & 07777);

  std::optional<int64_t> uid = pax.uid ? pax.uid : parse_field(field(header.uid));
  std::optional<int64_t> gid = pax.gid ? pax.gid : parse_field(field(header.gid));
  if (!uid || !gid) return bad_entry("has no valid owner");
  if (*uid < 0 || *uid > kMaxId || *gid < 0 || *gid > kMaxId) {
    return bad_entry(fmt::format("owner {}:{} is out of range", *uid, *gid));
  }
  entry.uid = static_cast<uint32_t>(*uid);
  entry.gid = static_cast<uint32_t>(*gid);

  std::optional<Time> mtime = pax.mtime;
  if (!mtime) {
    std::optional<int64_t> seconds = parse_field(field(header.mtime));
    if (!seconds) return bad_entry("has no valid time");
    mtime = Time{*seconds, 0};
  }
  entry.mtime_seconds = mtime->seconds;
  entry.mtime_nanoseconds = mtime->nanoseconds;
  return {};
}

Result<> TarReader::State::set_device(const PosixHeader& header, Format format,
                                      const PaxAttributes& pax) {
  if (format == Format::kV7) return bad_entry("is a device in a format that has none");
  auto number = [](const std::optional<uint64_t>& from_pax, std::string_view bytes) {
    return from_pax ? static_cast<int64_t>(*from_pax) : parse_field(bytes).value_or(-1);
  };
  int64_t device_major = number(pax.device_major, field(header.devmajor));
  int64_t device_minor = number(pax.device_minor, field(header.devminor));
  // Linux include/linux/kdev_t.h
  if (device_major < 0 || device_major >= (1 << 12) || device_minor < 0 ||
      device_minor >= (1 << 20)) {
    return bad_entry(fmt::format("device {}:{} is out of range", device_major, device_minor));
  }
  entry.device_major = static_cast<uint32_t>(device_major);
  entry.device_minor = static_cast<uint32_t>(device_minor);
  return {};
}

Result<> TarReader::State::set_xattrs(PaxAttributes& pax) {
  if (pax.selinux_label) {
    auto [place, is_new] = pax.xattrs.try_emplace("security.selinux", *pax.selinux_label);
    if (!is_new && place->second != *pax.selinux_label) {
      return bad_entry("has two different SELinux labels");
    }
  }
  // bsdtar writes both kinds, with the same escapes. GNU tar takes the names of SCHILY for what
  // they are but for two escapes, so that an odd name would give two attributes, one of them wrong.
  bool has_both = !pax.xattrs.empty() && !pax.libarchive_xattrs.empty();
  for (auto& [key, value] : pax.libarchive_xattrs) {
    auto [place, is_new] = pax.xattrs.try_emplace(key, value);
    if (is_new ? has_both : place->second != value) {
      return bad_entry(fmt::format("the extended attribute '{}' is written in two ways that "
                                   "contradict each other",
                                   key))
          .with_hint(
              "write the archive with GNU tar, or with bsdtar --options xattrheader=LIBARCHIVE");
    }
  }
  for (auto& [key, value] : pax.xattrs) entry.xattrs.emplace_back(key, std::move(value));
  entry.access_acl = std::move(pax.access_acl);
  entry.default_acl = std::move(pax.default_acl);
  return {};
}

/// Spec: GNU tar manual, "Dumpdir": a letter and a name with a NUL behind it, for each name; a NUL.
Result<> TarReader::State::check_dump_directory(std::string_view list) const {
  while (!list.empty() && list[0] != '\0') {
    size_t end = list.find('\0');
    if (end == std::string_view::npos) return bad_entry("has a malformed list of names");
    // Y: in the archive; D: a directory.
    if (list[0] != 'Y' && list[0] != 'D') {
      return bad_entry(fmt::format("is of an incremental dump that leaves '{}' out",
                                   list.substr(1, end - 1)))
          .with_hint("restore the dumps with GNU tar and write one archive");
    }
    list.remove_prefix(end + 1);
  }
  return {};
}

Result<> TarReader::State::read_gnu_extents(const PosixHeader& header) {
  GnuHeader gnu;
  std::memcpy(&gnu, &header, sizeof(gnu));
  std::optional<int64_t> real_size = parse_field(field(gnu.real_size));
  if (!real_size || *real_size < 0) return bad_entry("is a sparse file without a valid size");
  entry.size_bytes = static_cast<uint64_t>(*real_size);

  // True: there may be more.
  auto add = [&](std::span<const GnuExtent> list) -> Result<bool> {
    for (const GnuExtent& extent : list) {
      if (extent.size[0] == '\0') return false;
      std::optional<int64_t> offset = parse_field(field(extent.offset));
      std::optional<int64_t> size = parse_field(field(extent.size));
      if (!offset || !size || *offset < 0 || *size < 0) {
        return bad_entry("has a malformed extent");
      }
      if (extents.size() == kMaxTarSparseExtents) {
        return bad_entry(fmt::format("has more than {} extents", kMaxTarSparseExtents));
      }
      extents.push_back({static_cast<uint64_t>(*offset), static_cast<uint64_t>(*size)});
    }
    return true;
  };
  bool more = CFS_TRY(add(gnu.extents));
  char is_extended = gnu.is_extended;
  while (is_extended != '\0') {
    CFS_TRY(check_interrupted());
    if (!more) return bad_entry("has extents behind the last one");
    auto block = CFS_TRY(read_block<GnuExtentBlock>(fmt::format("'{}'", entry.path)));
    more = CFS_TRY(add(block.extents));
    is_extended = block.is_extended;
  }
  return {};
}

/// The next line of a map of sparse format 1.0, read block by block.
Result<uint64_t> TarReader::State::read_map_number(std::string& block, size_t& at) {
  std::string line;
  for (;;) {
    if (at == block.size()) {
      if (stored_left_bytes < kBlockBytes) return bad_entry("has a sparse map that does not end");
      auto next =
          CFS_TRY(read_block<std::array<char, kBlockBytes>>(fmt::format("'{}'", entry.path)));
      stored_left_bytes -= kBlockBytes;
      block.assign(next.data(), next.size());
      at = 0;
    }
    char c = block[at++];
    if (c == '\n') break;
    line += c;
    if (line.size() > 20) break;  // longer than any number
  }
  std::optional<uint64_t> number = parse_decimal(line);
  if (!number) return bad_entry("has a malformed sparse map");
  return *number;
}

Result<> TarReader::State::read_pax_extents(PaxAttributes& pax) {
  uint64_t version_major = pax.sparse_major.value_or(0);
  uint64_t version_minor = pax.sparse_minor.value_or(0);
  if (!pax.sparse_real_size) return bad_entry("is a sparse file without a size");
  entry.size_bytes = *pax.sparse_real_size;
  if (version_major == 0 && version_minor <= 1) {
    if (pax.has_sparse_map == pax.has_sparse_pairs) {
      return bad_entry("is a sparse file without one valid map");
    }
    if (!pax.sparse_count || *pax.sparse_count != pax.sparse_extents.size()) {
      return bad_entry("has a sparse map of another length than its count says");
    }
    extents = std::move(pax.sparse_extents);
    return {};
  }
  if (version_major != 1 || version_minor != 0) {
    return bad_entry(
        fmt::format("is a sparse file of the unknown format {}.{}", version_major, version_minor));
  }
  if (pax.has_sparse_map || pax.has_sparse_pairs) {
    return bad_entry("has sparse maps of two formats");
  }
  std::string block;
  size_t at = 0;
  uint64_t count = CFS_TRY(read_map_number(block, at));
  if (count > kMaxTarSparseExtents) {
    return bad_entry(fmt::format("has {} extents; {} are supported", count, kMaxTarSparseExtents));
  }
  for (uint64_t i = 0; i < count; ++i) {
    TarEntry::Extent extent;
    extent.offset = CFS_TRY(read_map_number(block, at));
    extent.size = CFS_TRY(read_map_number(block, at));
    extents.push_back(extent);
  }
  return {};
}

Result<> TarReader::State::check_extents() const {
  uint64_t end = 0;
  uint64_t stored = 0;
  for (const TarEntry::Extent& extent : extents) {
    if (extent.offset < end || extent.size > entry.size_bytes ||
        extent.offset > entry.size_bytes - extent.size) {
      return bad_entry("has a sparse map that is not in order or leads out of the file");
    }
    end = extent.offset + extent.size;
    stored += extent.size;
  }
  if (end != entry.size_bytes) {
    return bad_entry(
        "has a sparse map that ends before the file, which GNU tar would cut off there");
  }
  if (entry.size_bytes - stored > kMaxTarHoleBytes) {
    return bad_entry(fmt::format("has holes of {} bytes; {} are supported",
                                 entry.size_bytes - stored, kMaxTarHoleBytes))
        .with_hint("fs-verity hashes holes too; leave the file out of the archive");
  }
  if (stored != stored_left_bytes) {
    return bad_entry(fmt::format("has a sparse map of {} bytes and {} bytes in the archive", stored,
                                 stored_left_bytes));
  }
  return {};
}

Result<> TarReader::State::set_content(const PosixHeader& header, Format format,
                                       PaxAttributes& pax) {
  if (pax.is_sparse && (entry.type != TarEntry::Type::kRegular || header.typeflag == 'S' ||
                        format != Format::kPosix)) {
    return bad_entry("has a sparse map that does not belong to it");
  }
  if (pax.dump_directory) {
    if (entry.type != TarEntry::Type::kDirectory) return bad_entry("has a list of names");
    CFS_TRY(check_dump_directory(*pax.dump_directory));
  }
  bool named_like_a_directory =
      entry.type == TarEntry::Type::kDirectory && header.typeflag != '5' && header.typeflag != 'D';
  if (entry.type != TarEntry::Type::kRegular) {
    uint64_t size = 0;
    if (header.typeflag == 'D' || named_like_a_directory) {
      size = CFS_TRY(size_of(header, fmt::format("entry '{}'", entry.path)));
    }
    if (header.typeflag == 'D' && !pax.size) {
      std::string list = CFS_TRY(read_body(header, "a list of names", kMaxTarDumpDirectoryBytes));
      return check_dump_directory(list);
    }
    if (pax.size.value_or(size) != 0) return bad_entry("has content that this type of entry lacks");
    return {};
  }

  stored_left_bytes =
      pax.size ? *pax.size : CFS_TRY(size_of(header, fmt::format("entry '{}'", entry.path)));
  padding_bytes = align_up(stored_left_bytes, kBlockBytes) - stored_left_bytes;
  if (header.typeflag == 'S') {
    CFS_TRY(read_gnu_extents(header));
    return check_extents();
  }
  if (pax.is_sparse) {
    CFS_TRY(read_pax_extents(pax));
    return check_extents();
  }
  entry.size_bytes = stored_left_bytes;
  extents.push_back({0, entry.size_bytes});
  return {};
}

Result<> TarReader::State::make_entry(const PosixHeader& header, Pending pending) {
  Format format = format_of(header);
  PaxAttributes pax = pending.pax ? *std::move(pending.pax) : global;
  entry = TarEntry();
  entry.path = pending.long_name ? *std::move(pending.long_name) : name_of(header, format);
  if (pax.path) entry.path = *std::move(pax.path);
  if (pax.sparse_name) entry.path = *std::move(pax.sparse_name);
  if (entry.path.empty()) {
    return corrupt(fmt::format("an entry without a name, at byte {}", position - kBlockBytes));
  }
  CFS_TRY(set_type(header, format));
  CFS_TRY(set_owner_and_time(header, pax));
  if (entry.type == TarEntry::Type::kHardLink || entry.type == TarEntry::Type::kSymlink) {
    entry.link_target =
        pending.long_link ? *std::move(pending.long_link) : text_of(field(header.linkname));
    if (pax.link_path) entry.link_target = *std::move(pax.link_path);
    if (entry.link_target.empty()) return bad_entry("is a link without a target");
  }
  if (entry.type == TarEntry::Type::kCharacterDevice ||
      entry.type == TarEntry::Type::kBlockDevice) {
    CFS_TRY(set_device(header, format, pax));
  }
  CFS_TRY(set_xattrs(pax));
  return set_content(header, format, pax);
}

TarReader::TarReader(ByteSource source, std::string name) : state_(std::make_unique<State>()) {
  state_->source = std::move(source);
  state_->name = std::move(name);
}
TarReader::TarReader(TarReader&&) noexcept = default;
TarReader& TarReader::operator=(TarReader&&) noexcept = default;
TarReader::~TarReader() = default;

Result<const TarEntry*> TarReader::next() {
  State& state = *state_;
  if (state.ended) return nullptr;
  CFS_TRY(state.finish_content());
  State::Pending pending;
  for (;;) {
    CFS_TRY(check_interrupted());
    PosixHeader header;
    size_t size = CFS_TRY(state.read_raw({reinterpret_cast<std::byte*>(&header), sizeof(header)}));
    if (size < sizeof(header)) return state.cut_off();
    Bytes block(reinterpret_cast<const std::byte*>(&header), sizeof(header));
    if (all_zero(block)) {
      if (pending.any()) return state.corrupt("the last header has no entry");
      CFS_TRY(state.finish_archive());
      state.ended = true;
      return nullptr;
    }
    if (!is_tar_header(block)) {
      if (state.position == sizeof(header)) return state.corrupt("is not a tar archive");
      return state.corrupt(
          fmt::format("there is no valid header at byte {}", state.position - sizeof(header)));
    }
    switch (header.typeflag) {
      case 'L':
        pending.long_name = CFS_TRY(state.read_long_name(header, "a long name"));
        break;
      case 'K':
        pending.long_link = CFS_TRY(state.read_long_name(header, "a long link target"));
        break;
      case 'x':
      case 'X':  // Solaris
        if (pending.pax) {
          return state.corrupt(fmt::format("two pax headers for one entry, at byte {}",
                                           state.position - sizeof(header)));
        }
        pending.pax = CFS_TRY(state.read_pax(header, PaxScope::kEntry));
        break;
      case 'g':
        if (pending.pax) {
          return state.corrupt(fmt::format("a global pax header behind an entry's, at byte {}",
                                           state.position - sizeof(header)));
        }
        CFS_TRY(state.read_global(header));
        break;
      case 'V': {
        if (pending.any()) return state.corrupt("a volume label with headers of an entry");
        uint64_t skipped = CFS_TRY(state.size_of(header, "a volume label"));
        if (skipped > kMaxTarPaxBytes) return state.corrupt("a volume label with content");
        CFS_TRY(state.skip_raw(align_up(skipped, kBlockBytes), "a volume label"));
        break;
      }
      default:
        CFS_TRY(state.make_entry(header, std::move(pending)));
        return &state.entry;
    }
  }
}

Result<size_t> TarReader::read(std::span<std::byte> out) {
  State& state = *state_;
  size_t used = 0;
  while (used < out.size() && state.content_position < state.entry.size_bytes) {
    bool is_last = state.next_extent == state.extents.size();
    TarEntry::Extent extent =
        is_last ? TarEntry::Extent{state.entry.size_bytes, 0} : state.extents[state.next_extent];
    if (state.content_position < extent.offset) {
      uint64_t hole = extent.offset - state.content_position;
      if (hole >= kTarLongHoleBytes && used > 0) break;
      auto count = static_cast<size_t>(std::min<uint64_t>(hole, out.size() - used));
      std::memset(out.data() + used, 0, count);
      used += count;
      state.content_position += count;
      continue;
    }
    uint64_t left = extent.offset + extent.size - state.content_position;
    if (left == 0) {
      ++state.next_extent;
      continue;
    }
    auto wanted = static_cast<size_t>(std::min<uint64_t>(left, out.size() - used));
    size_t count = CFS_TRY(state.read_raw(out.subspan(used, wanted)));
    if (count < wanted) {
      return state.bad_entry(fmt::format("cut off after {} of {} bytes",
                                         state.content_position + count, state.entry.size_bytes));
    }
    used += count;
    state.content_position += count;
    state.stored_left_bytes -= count;
  }
  return used;
}

uint64_t TarReader::skip_hole() {
  State& state = *state_;
  while (state.next_extent < state.extents.size()) {
    TarEntry::Extent extent = state.extents[state.next_extent];
    if (extent.offset + extent.size > state.content_position) break;
    ++state.next_extent;
  }
  uint64_t data = state.next_extent == state.extents.size()
                      ? state.entry.size_bytes
                      : state.extents[state.next_extent].offset;
  uint64_t hole = data - std::min(data, state.content_position);
  if (hole < kTarLongHoleBytes) return 0;
  state.content_position = data;
  return hole;
}

}  // namespace cfs::builder
