// SPDX-License-Identifier: Apache-2.0
#include "lib/store/lock.h"

#include <fcntl.h>

#include "lib/base/io.h"

namespace cfs::store {
namespace {

/// A lock belongs to what open(2) returned, so each one needs a descriptor of its own.
Result<UniqueFd> reopen(int store_fd) { return open_at(store_fd, ".", O_RDONLY | O_DIRECTORY); }

}  // namespace

Result<FileLock> lock_for_use(int store_fd) {
  return FileLock::take(CFS_TRY(reopen(store_fd)), LockMode::kShared);
}

Result<FileLock> lock_for_removal(int store_fd) {
  Result<FileLock> lock = FileLock::try_take(CFS_TRY(reopen(store_fd)), LockMode::kExclusive);
  if (lock || lock.error().code != ErrorCode::kBusy) return lock;
  return make_error(ErrorCode::kBusy, "the object store is in use")
      .with_hint("objects are removed while no build, update or other reader has the store open");
}

}  // namespace cfs::store
