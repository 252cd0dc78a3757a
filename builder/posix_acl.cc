// SPDX-License-Identifier: Apache-2.0
#include "builder/posix_acl.h"

#include <algorithm>
#include <tuple>

#include "lib/base/little_endian.h"

namespace cfs::builder {
namespace {

constexpr uint32_t kAclXattrVersion = 2;

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

}  // namespace cfs::builder
