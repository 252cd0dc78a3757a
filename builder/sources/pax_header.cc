// SPDX-License-Identifier: Apache-2.0
//
// What the records of pax headers mean; where GNU tar and the standard differ, GNU tar decides or
// the record is refused (tar_reader.cc has the rest of this essay):
//
//   records     Of a repeated keyword the last counts.
//   global      Names, sizes and xattrs in a 'g' header are refused: GNU tar does not apply them.
//   keywords    Unknown ones of POSIX and of GNU, SCHILY, LIBARCHIVE, SUN and RHT are refused:
//               some of them change the content. Those of other vendors are ignored.
//   names       bytes, whatever 'hdrcharset' says.
//   xattrs      SCHILY names have %3D and %25 decoded, as GNU tar does; LIBARCHIVE names every %XX.
//               bsdtar writes both, with the escapes of the second in both. Where the two ways to
//               read give different names or values, the entry is refused.
#include "builder/sources/pax_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "builder/sources/tar_header.h"
#include "lib/base/bytes.h"
#include "lib/base/hex.h"

namespace cfs::builder {
namespace {

std::optional<int64_t> parse_signed_decimal(std::string_view text) {
  bool negative = text.starts_with('-');
  std::optional<uint64_t> value = parse_tar_decimal(text.substr(negative ? 1 : 0));
  if (!value) return std::nullopt;
  auto result = static_cast<int64_t>(*value);
  return negative ? -result : result;
}

/// "-1.5" is half a second before -1. Fractions of a nanosecond are rounded down.
std::optional<PaxTime> parse_time(std::string_view text) {
  bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  size_t point = std::min(text.find('.'), text.size());
  std::optional<uint64_t> whole = parse_tar_decimal(text.substr(0, point));
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
  if (!negative) return PaxTime{seconds, nanoseconds};
  seconds = -seconds;
  if (more) ++nanoseconds;
  if (nanoseconds == 0) return PaxTime{seconds, 0};
  return PaxTime{seconds - 1, 1'000'000'000 - nanoseconds};
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
      if (is_all_zero(as_bytes(body))) return {};  // padding that some writers count
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
    if (key == "size") return set(out_.size, key, value, parse_tar_decimal(value));
    if (key == "SCHILY.devmajor")
      return set(out_.device_major, key, value, parse_tar_decimal(value));
    if (key == "SCHILY.devminor")
      return set(out_.device_minor, key, value, parse_tar_decimal(value));
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
        "RHT.security.selinux",  // is_kept_xattr()
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
    return key == "path" || key == "linkpath" || key == "size" || key.starts_with("GNU.") ||
           key.starts_with("SCHILY.") || key.starts_with("LIBARCHIVE.");
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
    if (key == "major") return set(out_.sparse_major, full_key, value, parse_tar_decimal(value));
    if (key == "minor") return set(out_.sparse_minor, full_key, value, parse_tar_decimal(value));
    if (key == "name") return set_text(out_.sparse_name, full_key, value);
    if (key == "size" || key == "realsize") {
      return set(out_.sparse_real_size, full_key, value, parse_tar_decimal(value));
    }
    if (key == "numblocks") {
      return set(out_.sparse_count, full_key, value, parse_tar_decimal(value));
    }
    if (key == "offset") {
      if (out_.sparse_offset) return bad_record(full_key, value, "follows another offset");
      out_.has_sparse_pairs = true;
      return set(out_.sparse_offset, full_key, value, parse_tar_decimal(value));
    }
    if (key == "numbytes") {
      std::optional<uint64_t> size = parse_tar_decimal(value);
      if (!size || !out_.sparse_offset) return bad_record(full_key, value, "is malformed");
      Result<> added = add_extent({*out_.sparse_offset, *size}, out_.sparse_extents);
      if (!added) return bad_record(full_key, value, added.error().message);
      out_.sparse_offset.reset();
      return {};
    }
    if (key == "map") {
      if (out_.has_sparse_map) out_.sparse_extents.clear();
      out_.has_sparse_map = true;
      Result<> added = add_listed_extents(value, out_.sparse_extents);
      if (!added) return bad_record(full_key, value, added.error().message);
      return {};
    }
    return unknown(full_key, value);
  }

  static constexpr std::string_view kSchilyXattr = "SCHILY.xattr.";
  static constexpr std::string_view kLibarchiveXattr = "LIBARCHIVE.xattr.";

  PaxScope scope_;
  PaxAttributes& out_;
};

}  // namespace

Result<> parse_pax(std::string_view body, PaxScope scope, PaxAttributes& attributes) {
  return PaxParser(scope, attributes).parse(body);
}

Result<std::vector<std::pair<std::string, std::string>>> take_xattrs(PaxAttributes& attributes) {
  auto& xattrs = attributes.xattrs;
  // bsdtar writes both kinds, with the same escapes. GNU tar takes the names of SCHILY for what
  // they are but for two escapes, so that an odd name would give two attributes, one of them wrong.
  bool has_both = !xattrs.empty() && !attributes.libarchive_xattrs.empty();
  for (auto& [key, value] : attributes.libarchive_xattrs) {
    auto [place, is_new] = xattrs.try_emplace(key, value);
    if (is_new ? has_both : place->second != value) {
      return make_error(ErrorCode::kCorrupt,
                        fmt::format("the extended attribute '{}' is written in two ways that "
                                    "contradict each other",
                                    key))
          .with_hint(
              "write the archive with GNU tar, or with bsdtar --options xattrheader=LIBARCHIVE");
    }
  }
  std::vector<std::pair<std::string, std::string>> merged;
  merged.reserve(xattrs.size());
  for (auto& [key, value] : xattrs) merged.emplace_back(key, std::move(value));
  return merged;
}

}  // namespace cfs::builder
