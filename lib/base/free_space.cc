// SPDX-License-Identifier: Apache-2.0
#include "lib/base/free_space.h"

#include <sys/statvfs.h>

#include <string>

#include "lib/base/progress.h"

namespace cfs {

Result<FileSystemSpace> file_system_space(int fd) {
  struct statvfs status = {};
  if (::fstatvfs(fd, &status) != 0) return errno_error("cannot ask for free space");
  FileSystemSpace space{.free_bytes = uint64_t{status.f_bavail} * status.f_frsize,
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
