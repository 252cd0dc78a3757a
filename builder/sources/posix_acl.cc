// SPDX-License-Identifier: Apache-2.0
#include "builder/sources/posix_acl.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <optional>
#include <tuple>

#include "lib/base/little_endian.h"

namespace cfs::builder {
namespace {

using Tag = AclEntry::Tag;

constexpr uint32_t kAclXattrVersion = 2;
constexpr uint32_t kNoId = 0xffffffff;
constexpr size_t kMaxAclBytes = 64 << 10;  // XATTR_SIZE_MAX, and for a text more than anyone writes

struct DiskEntry {
  le16 tag;          // 0
  le16 permissions;  // 2
  le32 id;           // 4
};
static_assert(sizeof(DiskEntry) == 8);

template <typename T>
void append(std::string& out, const T& value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

Error bad_acl(const std::string& what) {
  return make_error(ErrorCode::kCorrupt, "an access control list " + what);
}

bool is_named(Tag tag) { return tag == Tag::kUser || tag == Tag::kGroup; }

/// Orders the entries and checks what the kernel does (fs/posix_acl.c, posix_acl_valid).
Result<> settle(std::vector<AclEntry>& entries) {
  if (entries.empty()) return {};
  std::sort(entries.begin(), entries.end());
  auto count = [&](Tag tag) {
    return std::count_if(entries.begin(), entries.end(),
                         [&](const AclEntry& entry) { return entry.tag == tag; });
  };
  if (count(Tag::kUserOwner) != 1 || count(Tag::kGroupOwner) != 1 || count(Tag::kOther) != 1) {
    return bad_acl("must have owner, owning group and others once each");
  }
  bool has_names = count(Tag::kUser) > 0 || count(Tag::kGroup) > 0;
  if (count(Tag::kMask) > 1 || (has_names && count(Tag::kMask) == 0)) {
    return bad_acl("must have one mask");
  }
  auto same = [](const AclEntry& a, const AclEntry& b) { return a.tag == b.tag && a.id == b.id; };
  if (std::adjacent_find(entries.begin(), entries.end(), same) != entries.end()) {
    return bad_acl("names a user or group twice");
  }
  return {};
}

/// Where in a mode the permissions of entries with `tag` stand; nothing if nowhere.
/// Spec: Linux fs/posix_acl.c, posix_acl_equiv_mode and __posix_acl_chmod_masq.
std::optional<int> mode_shift(Tag tag, const std::vector<AclEntry>& entries) {
  bool has_mask = std::any_of(entries.begin(), entries.end(),
                              [](const AclEntry& entry) { return entry.tag == Tag::kMask; });
  if (tag == Tag::kUserOwner) return 6;
  if (tag == (has_mask ? Tag::kMask : Tag::kGroupOwner)) return 3;
  if (tag == Tag::kOther) return 0;
  return std::nullopt;
}

std::string_view trimmed(std::string_view text) {
  auto is_blank = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

/// Takes what stands before the next colon off `rest`.
std::string_view next_field(std::string_view& rest) {
  size_t colon = std::min(rest.find(':'), rest.size());
  std::string_view field = trimmed(rest.substr(0, colon));
  rest.remove_prefix(std::min(colon + 1, rest.size()));
  return field;
}

std::optional<uint16_t> parse_permissions(std::string_view text) {
  if (text.empty() || text.size() > 3) return std::nullopt;
  unsigned permissions = 0;
  for (char c : text) {
    unsigned bit = c == 'r' ? 4 : c == 'w' ? 2 : c == 'x' ? 1 : 0;
    if ((bit == 0 && c != '-') || (permissions & bit) != 0) return std::nullopt;
    permissions |= bit;
  }
  return static_cast<uint16_t>(permissions);
}

std::optional<uint32_t> parse_id(std::string_view text) {
  uint32_t id = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  bool whole = error == std::errc() && end == text.data() + text.size();
  // A leading zero: octal to some.
  if (!whole || id == kNoId || (text.size() > 1 && text[0] == '0')) return std::nullopt;
  return id;
}

}  // namespace

std::string encode_posix_acl(std::vector<AclEntry> entries) {
  std::sort(entries.begin(), entries.end(), [](const AclEntry& a, const AclEntry& b) {
    return std::tie(a.tag, a.id) < std::tie(b.tag, b.id);
  });
  std::string out;
  append(out, le32(kAclXattrVersion));
  for (const AclEntry& entry : entries) {
    append(out, DiskEntry{static_cast<uint16_t>(entry.tag), entry.permissions, entry.id});
  }
  return out;
}

Result<std::vector<AclEntry>> decode_posix_acl(std::string_view value) {
  le32 version;
  if (value.size() > kMaxAclBytes || value.size() < sizeof(version) ||
      (value.size() - sizeof(version)) % sizeof(DiskEntry) != 0) {
    return bad_acl("has an impossible size");
  }
  std::memcpy(&version, value.data(), sizeof(version));
  if (version != kAclXattrVersion) return bad_acl("is of an unknown version");
  std::vector<AclEntry> entries;
  for (size_t at = sizeof(version); at < value.size(); at += sizeof(DiskEntry)) {
    DiskEntry disk;
    std::memcpy(&disk, value.data() + at, sizeof(disk));
    AclEntry entry{static_cast<Tag>(uint16_t{disk.tag}), disk.permissions};
    static constexpr std::array kTags = {Tag::kUserOwner, Tag::kUser, Tag::kGroupOwner,
                                         Tag::kGroup,     Tag::kMask, Tag::kOther};
    if (std::find(kTags.begin(), kTags.end(), entry.tag) == kTags.end() || entry.permissions > 7) {
      return bad_acl("has an unknown entry");
    }
    if (is_named(entry.tag)) {
      entry.id = disk.id;
      if (entry.id == kNoId) return bad_acl("has a user or group without a number");
    }
    entries.push_back(entry);
  }
  CFS_TRY(settle(entries));
  return entries;
}

uint32_t permissions_of(const std::vector<AclEntry>& entries) {
  uint32_t permissions = 0;
  for (const AclEntry& entry : entries) {
    if (std::optional<int> shift = mode_shift(entry.tag, entries)) {
      permissions |= uint32_t{entry.permissions} << *shift;
    }
  }
  return permissions;
}

void apply_permissions(uint32_t permissions, std::vector<AclEntry>& entries) {
  for (AclEntry& entry : entries) {
    if (std::optional<int> shift = mode_shift(entry.tag, entries)) {
      entry.permissions = static_cast<uint16_t>(permissions >> *shift & 7);
    }
  }
}

Result<AclText> parse_posix_acl(std::string_view text) {
  AclText result;
  if (text.size() > kMaxAclBytes) return bad_acl("has an impossible size");
  while (!text.empty()) {
    size_t end = std::min(text.find_first_of(",\n"), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    std::string_view rest = trimmed(line.substr(0, line.find('#')));
    if (rest.empty()) continue;
    std::string_view shown = rest;
    auto malformed = [&] { return bad_acl(fmt::format("has the malformed entry '{}'", shown)); };

    std::string_view kind = next_field(rest);
    bool is_user = kind == "user" || kind == "u";
    bool is_group = kind == "group" || kind == "g";
    bool is_mask = kind == "mask" || kind == "m";
    if (!is_user && !is_group && !is_mask && kind != "other" && kind != "o") return malformed();
    std::string_view who = next_field(rest);
    std::optional<uint16_t> permissions;
    if (!is_user && !is_group && !who.empty() && rest.empty()) {  // "mask:rwx"
      permissions = parse_permissions(std::exchange(who, {}));
    } else {
      permissions = parse_permissions(next_field(rest));
    }
    if (!permissions) return malformed();
    std::string_view number = next_field(rest);
    if (!rest.empty()) return malformed();

    AclEntry entry{Tag::kOther, *permissions};
    if (is_mask) entry.tag = Tag::kMask;
    if (is_user) entry.tag = who.empty() ? Tag::kUserOwner : Tag::kUser;
    if (is_group) entry.tag = who.empty() ? Tag::kGroupOwner : Tag::kGroup;
    if (is_named(entry.tag)) {
      std::optional<uint32_t> id = parse_id(number.empty() ? who : number);
      if (!number.empty() && !id) return malformed();
      if (std::optional<uint32_t> other = parse_id(who); id && other && id != other) {
        return malformed();
      }
      if (!id && result.name_without_number.empty()) result.name_without_number = who;
      entry.id = id.value_or(kNoId);
    } else if (!who.empty() || !number.empty()) {
      return malformed();
    }
    result.entries.push_back(entry);
  }
  if (!result.name_without_number.empty()) {
    result.entries.clear();
    return result;
  }
  CFS_TRY(settle(result.entries));
  return result;
}

}  // namespace cfs::builder
