// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"

namespace cfs::builder {

/// One entry of a POSIX.1e access control list.
struct AclEntry {
  /// Values of the xattr form. Spec: Linux include/uapi/linux/posix_acl.h.
  enum class Tag : uint16_t {
    kUserOwner = 0x01,
    kUser = 0x02,
    kGroupOwner = 0x04,
    kGroup = 0x08,
    kMask = 0x10,
    kOther = 0x20,
  };
  Tag tag;
  uint16_t permissions;      ///< r 4, w 2, x 1
  uint32_t id = 0xffffffff;  ///< of kUser and kGroup; undefined for the others
  auto operator<=>(const AclEntry&) const = default;
};

/// The value of the xattr system.posix_acl_access or _default.
/// Spec: Linux include/uapi/linux/posix_acl_xattr.h: u32 version 2, then {u16 tag, u16 permissions,
/// u32 id} ordered by tag and id, all little-endian.
[[nodiscard]] std::string encode_posix_acl(std::vector<AclEntry> entries);

/// The entries of such a value, ordered by tag and id; none from a value without entries.
/// Errors: kCorrupt, only the reason: malformed, or not a list that Linux takes (an owner, an
/// owning group and others once each, a mask with named users or groups). Trust: the value may come
/// from anywhere.
[[nodiscard]] Result<std::vector<AclEntry>> decode_posix_acl(std::string_view value);

/// The permissions (0777) of a file with the list `entries`, which is not empty: the mask stands in
/// the place of the group's rights.
[[nodiscard]] uint32_t permissions_of(const std::vector<AclEntry>& entries);

/// Changes the list of a file as chmod(2) does: the owner's entry, the mask or without one the
/// owning group's, and that of others.
void apply_permissions(uint32_t permissions, std::vector<AclEntry>& entries);

/// What a text says.
struct AclText {
  std::vector<AclEntry> entries;  ///< ordered by tag and id
  /// The first user or group that the text names without a number; then `entries` is empty.
  std::string name_without_number;
};

/// Reads the text of an access list: "user::rwx,user:app:r-x:1001,…", entries separated by commas
/// or newlines, each with a number as its name or as a fourth field. Spec: POSIX.1e draft 17,
/// section 23.3; star(5), SCHILY.acl.access. Errors: as decode_posix_acl().
/// Trust: the text may come from anywhere.
[[nodiscard]] Result<AclText> parse_posix_acl(std::string_view text);

}  // namespace cfs::builder
