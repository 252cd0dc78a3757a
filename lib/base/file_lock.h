// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "lib/base/result.h"
#include "lib/base/unique_fd.h"

namespace cfs {

enum class LockMode {
  kShared,     ///< any number at once, while nobody has the other
  kExclusive,  ///< one alone
};

/// A lock on an open file or directory (flock(2)), held until the object is destroyed or the
/// process ends, however it ends. It is about who does something at the same time, not about who
/// may: whoever can open the file can lock it, so a file that stands for the right to change
/// something has mode 0600.
class FileLock {
 public:
  /// Locks `file` without waiting. Errors: kBusy when somebody has a lock that excludes this one.
  [[nodiscard]] static Result<FileLock> try_take(UniqueFd file, LockMode mode);

  /// Locks `file`, waiting as long as it takes. Errors: kInterrupted.
  [[nodiscard]] static Result<FileLock> take(UniqueFd file, LockMode mode);

  /// The locked file.
  [[nodiscard]] int fd() const { return file_.get(); }

 private:
  explicit FileLock(UniqueFd file) : file_(std::move(file)) {}
  UniqueFd file_;
};

}  // namespace cfs
