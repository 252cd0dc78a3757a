// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

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
};

/// The value of the xattr system.posix_acl_access or _default.
/// Spec: Linux include/uapi/linux/posix_acl_xattr.h: u32 version 2, then {u16 tag, u16 permissions,
/// u32 id} ordered by tag and id, all little-endian.
[[nodiscard]] std::string encode_posix_acl(std::vector<AclEntry> entries);

}  // namespace cfs::builder
