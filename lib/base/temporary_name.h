// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>

#include "lib/base/file_lock.h"
#include "lib/base/result.h"
#include "lib/base/unique_fd.h"

namespace cfs {

/// The prefix of what is made beside the file or symlink that it will replace.
constexpr std::string_view kTemporaryPrefix = ".cfs-tmp-";

/// A file or directory under a temporary name, `<prefix><random_name()>`, locked as long as the
/// process that made it lives. The one rule by which cfs tells what is in use from what a killed
/// process has left behind; AtomicFile and WorkDirectory are made of it.
///
/// Removed, a directory with all it holds, when the object is destroyed, unless it has been given
/// another name (keep()).
class TemporaryName {
 public:
  /// A new file in the directory `parent`, open for reading and writing. `mode`: exactly that,
  /// whatever the umask; nothing: 0666 less the umask.
  [[nodiscard]] static Result<TemporaryName> make_file(UniqueFd parent, std::string_view prefix,
                                                       std::optional<mode_t> mode);
  /// A new directory of mode 0700.
  [[nodiscard]] static Result<TemporaryName> make_directory(UniqueFd parent,
                                                            std::string_view prefix);

  /// Removes from the directory `parent_fd` what has been left behind: files and directories whose
  /// name is `prefix` and a random_name(), that belong to this user, and that nobody has locked.
  /// What cannot be looked at or removed stays: it takes room, and is no reason to stop.
  /// Errors: those of listing `parent_fd`.
  static Result<> remove_stale(int parent_fd, std::string_view prefix);

  TemporaryName(TemporaryName&& other) noexcept;
  TemporaryName& operator=(TemporaryName&&) = delete;
  TemporaryName(const TemporaryName&) = delete;
  TemporaryName& operator=(const TemporaryName&) = delete;
  ~TemporaryName();

  [[nodiscard]] int parent_fd() const { return parent_.get(); }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] int fd() const { return lock_.fd(); }
  /// Says that it has another name now and shall stay.
  void keep() { name_.clear(); }

 private:
  TemporaryName(UniqueFd parent, std::string name, FileLock lock)
      : parent_(std::move(parent)), name_(std::move(name)), lock_(std::move(lock)) {}

  UniqueFd parent_;
  std::string name_;  ///< empty: nothing to remove
  FileLock lock_;     ///< holds the file
};

}  // namespace cfs
