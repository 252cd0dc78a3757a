// SPDX-License-Identifier: Apache-2.0
#include "lib/base/file_lock.h"

#include <sys/file.h>

#include <cerrno>

#include "lib/base/interrupt.h"

namespace cfs {
namespace {

/// flock(2); a signal that asks us to stop ends it, any other does not.
Result<> lock_fd(int fd, int operation) {
  while (::flock(fd, operation) != 0) {
    if (errno == EWOULDBLOCK) {
      return make_error(ErrorCode::kBusy, "another process has the lock");
    }
    if (errno != EINTR) return errno_error("cannot lock");
    CFS_TRY(check_interrupted());
  }
  return {};
}

int operation_of(LockMode mode) { return mode == LockMode::kShared ? LOCK_SH : LOCK_EX; }

}  // namespace

Result<FileLock> FileLock::try_take(UniqueFd file, LockMode mode) {
  CFS_TRY(lock_fd(file.get(), operation_of(mode) | LOCK_NB));
  return FileLock(std::move(file));
}

Result<FileLock> FileLock::take(UniqueFd file, LockMode mode) {
  CFS_TRY(lock_fd(file.get(), operation_of(mode)));
  return FileLock(std::move(file));
}

}  // namespace cfs
