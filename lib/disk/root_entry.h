// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "lib/base/result.h"
#include "lib/verity/digest.h"

namespace cfs::disk {

/// A file on the host whose content is taken. Relative paths are relative to the working directory.
struct HostFile {
  std::string path;
};

/// Where the content of a regular file comes from: the bytes themselves, or a host file.
using Content = std::variant<std::string, HostFile>;

/// One inode, or one more name of an inode, of the root file system of a disk image. Nothing is
/// taken from the host but content: owner, mode, times and xattrs are what stands here, so an
/// ordinary user can make any file system. Missing parent directories are made (0755, owner 0:0); a
/// directory may come twice, the later attributes count; the root itself has the path "".
struct RootEntry {
  std::string path;   ///< relative, without "." and "..": "cfs/objects/ab/cd…"
  uint32_t mode = 0;  ///< st_mode: one of the 7 file types and permissions
  uint32_t uid = 0;
  uint32_t gid = 0;
  int64_t mtime_seconds = 0;  ///< ext4: 1901 … 2446
  uint32_t mtime_nanoseconds = 0;
  dev_t device = 0;            ///< character and block devices
  Content content;             ///< regular files
  std::string symlink_target;  ///< symlinks: 1..4095 bytes
  /// Not empty: one more name of the regular file, device or symlink that an earlier entry made
  /// under this path. All other fields are then ignored.
  std::string link_to;
  /// Full names ("security.capability", "system.posix_acl_access" in the form of getxattr(2)) and
  /// values. Together at most about 4000 bytes.
  std::vector<std::pair<std::string, std::string>> xattrs;
  /// Regular files: the file gets fs-verity, and its content must have this digest.
  std::optional<verity::Digest> verity;
};

/// A list of entries for everything below the host directory `path`, which itself becomes the
/// directory `as` ("" = the root of the file system). Owner 0:0, permission bits and symlinks as
/// on the host, times `mtime_seconds`, hard links as separate files, no xattrs. Sorted by path.
/// An object of a device, `cfs/objects/ab/<62 hex>`, gets its verity digest from its name. Errors:
/// kInvalidInput (device, socket or FIFO).
[[nodiscard]] Result<std::vector<RootEntry>> entries_of_directory(const std::string& path,
                                                                  const std::string& as,
                                                                  int64_t mtime_seconds);

}  // namespace cfs::disk
