// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "lib/base/result.h"
#include "lib/base/unique_fd.h"

namespace cfs::deployer {

/// A directory of our own, `<parent>/.cfs-deploy-<16 hex>`, for making something that is renamed
/// into place when it is whole. Removed with its content at the end of scope, unless it was
/// renamed.
///
/// A process that is killed leaves its directory behind. Each is locked (flock) as long as its
/// process lives, so the next create() in the same parent knows which ones nobody needs and removes
/// them, if they belong to the same user.
class WorkDirectory {
 public:
  /// Errors: kNotFound, kPermission (the parent), kNoSpace.
  [[nodiscard]] static Result<WorkDirectory> create(const std::string& parent);
  WorkDirectory(WorkDirectory&& other) noexcept
      : path_(std::move(other.path_)), directory_(std::move(other.directory_)) {
    other.path_.clear();
  }
  WorkDirectory& operator=(WorkDirectory&&) = delete;
  WorkDirectory(const WorkDirectory&) = delete;
  WorkDirectory& operator=(const WorkDirectory&) = delete;
  ~WorkDirectory();

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] int directory_fd() const { return directory_.get(); }

 private:
  WorkDirectory(std::string path, UniqueFd directory)
      : path_(std::move(path)), directory_(std::move(directory)) {}
  std::string path_;
  UniqueFd directory_;  // holds the lock
};

}  // namespace cfs::deployer
