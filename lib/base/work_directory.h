// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "lib/base/atomic_file.h"
#include "lib/base/result.h"
#include "lib/base/temporary_name.h"

namespace cfs {

/// A directory of our own, `<parent>/<prefix><16 hex>` of mode 0700, for making something that is
/// renamed into place when it is whole, or that nobody needs afterwards. Removed with all it holds
/// when the object is destroyed, unless published.
///
/// A process that is killed leaves its directory behind. create() removes what earlier ones have
/// left under the same prefix (TemporaryName::remove_stale).
class WorkDirectory {
 public:
  /// `parent` is found by following symlinks. The prefix tells whose it is: ".cfs-deploy-".
  /// Errors: kNotFound, kPermission (the parent), kNoSpace.
  [[nodiscard]] static Result<WorkDirectory> create(int dir_fd, const std::string& parent,
                                                    std::string_view prefix);

  [[nodiscard]] int fd() const { return temporary_.fd(); }

  /// `parent` and its name: for messages, and for child programs when `dir_fd` was AT_FDCWD.
  [[nodiscard]] const std::string& path() const { return path_; }

  /// Makes all it holds durable (syncfs) and gives it the name `path` below `dir_fd` and the mode
  /// `mode`, whatever the umask. Existing::kReplace: what is there changes place with it, in one
  /// step, and is removed. Call once; fd() stays valid. Errors: kExists (Existing::kRefuse).
  [[nodiscard]] Result<> publish(int dir_fd, const std::string& path, mode_t mode,
                                 Existing existing);

 private:
  WorkDirectory(TemporaryName temporary, std::string path)
      : temporary_(std::move(temporary)), path_(std::move(path)) {}
  TemporaryName temporary_;
  std::string path_;
};

}  // namespace cfs
