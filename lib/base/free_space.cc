// SPDX-License-Identifier: Apache-2.0
#include "lib/base/free_space.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "lib/base/progress.h"

namespace cfs {

namespace {

/// Free blocks without those that ext4 keeps back from everybody: 2 percent, at most 4096. Spec:
/// ext4 documentation, "reserved_clusters".
uint64_t root_may_use(const struct statvfs& status) {
  constexpr uint64_t kMostKeptBack = 4096;
  uint64_t kept_back = std::min<uint64_t>(kMostKeptBack, status.f_blocks / 50);
  uint64_t free = status.f_bfree - std::min<uint64_t>(kept_back, status.f_bfree);
  return std::max<uint64_t>(free, status.f_bavail);
}

}  // namespace

Result<FileSystemSpace> file_system_space(int fd) {
  struct statvfs status = {};
  if (::fstatvfs(fd, &status) != 0) return errno_error("cannot ask for free space");
  // What is reserved for root is root's: on a device updates live from it.
  uint64_t free_blocks = ::geteuid() == 0 ? root_may_use(status) : status.f_bavail;
  FileSystemSpace space{.free_bytes = free_blocks * status.f_frsize,
                        .free_inodes = {},
                        .is_read_only = (status.f_flag & ST_RDONLY) != 0};
  // btrfs and others, which have no fixed number of inodes, report none at all.
  if (status.f_files > 0) space.free_inodes = status.f_favail;
  return space;
}

Result<> require_space(const FileSystemSpace& space, std::string_view what, uint64_t bytes,
                       uint64_t inodes) {
  if (space.free_bytes < bytes) {
    return make_error(ErrorCode::kNoSpace, std::string(what) + " needs " + format_bytes(bytes) +
                                               " free and has " + format_bytes(space.free_bytes))
        .with_hint("free " + format_bytes(bytes - space.free_bytes) + " or more and try again");
  }
  if (space.free_inodes.value_or(inodes) < inodes) {
    return make_error(ErrorCode::kNoSpace, std::string(what) + " needs " + std::to_string(inodes) +
                                               " free inodes and has " +
                                               std::to_string(*space.free_inodes))
        .with_hint("remove files and try again");
  }
  return {};
}

Result<> require_space(int fd, std::string_view what, uint64_t bytes, uint64_t inodes) {
  return require_space(CFS_TRY(file_system_space(fd)), what, bytes, inodes);
}

}  // namespace cfs
