// SPDX-License-Identifier: Apache-2.0
// The kernel's file-descriptor mount interface, with the kernel's own words in every error.
#pragma once

#include <cstdint>
#include <string>

#include "lib/base/result.h"
#include "lib/base/unique_fd.h"

namespace cfs::mount {

/// A file system being configured (fsopen or fspick). Errors carry errno in `sys_errno` and, in the
/// message, the lines the kernel wrote into the context's log.
class FsContext {
 public:
  /// A new file system of `type`.
  [[nodiscard]] static Result<FsContext> open(const std::string& type);
  /// The mounted file system at `path`, to change its options.
  [[nodiscard]] static Result<FsContext> pick(const std::string& path);

  [[nodiscard]] Result<> set_string(const std::string& key, const std::string& value);
  [[nodiscard]] Result<> set_flag(const std::string& key);
  /// Makes the superblock.
  [[nodiscard]] Result<> create();
  /// Applies the changed options of a picked file system.
  [[nodiscard]] Result<> reconfigure();
  /// A detached mount of the superblock made by create(). `attributes`: MOUNT_ATTR_*.
  [[nodiscard]] Result<UniqueFd> mount(unsigned attributes);

 private:
  FsContext(UniqueFd fd, std::string type) : fd_(std::move(fd)), type_(std::move(type)) {}
  [[nodiscard]] Error failure(const std::string& what, int error_number) const;
  UniqueFd fd_;
  std::string type_;
};

/// Attaches the detached mount `mount_fd` at `target`.
[[nodiscard]] Result<> attach(int mount_fd, const std::string& target);

/// Attaches the detached mount `mount_fd` on the directory `directory_fd`.
[[nodiscard]] Result<> attach_to(int mount_fd, int directory_fd);

/// Moves the mount at `from` to `to`.
[[nodiscard]] Result<> move_mount_to(const std::string& from, const std::string& to);

/// A detached copy of the directory or mount `directory_fd` (open_tree with OPEN_TREE_CLONE).
[[nodiscard]] Result<UniqueFd> clone_mount(int directory_fd);

/// Sets and clears MOUNT_ATTR_* of one mount. `user_namespace_fd` ≥ 0 with MOUNT_ATTR_IDMAP.
[[nodiscard]] Result<> set_mount_attributes(int mount_fd, uint64_t set, uint64_t clear,
                                            int user_namespace_fd = -1);

/// umount2(MNT_DETACH).
[[nodiscard]] Result<> detach(const std::string& target);

}  // namespace cfs::mount
