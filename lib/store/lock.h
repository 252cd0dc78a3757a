// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lib/base/file_lock.h"
#include "lib/base/result.h"

namespace cfs::store {

/// Every open ObjectStore, and with it every batch, holds the first of these locks on its
/// directory; whoever removes objects holds the second. So an object that a reader has found stays
/// until the reader has gone. Both are released when the FileLock is destroyed or the process ends.

/// Waits while somebody removes objects. Errors: kInterrupted, those of opening the directory.
[[nodiscard]] Result<FileLock> lock_for_use(int store_fd);

/// Errors: kBusy while somebody, this process included, has the store open.
[[nodiscard]] Result<FileLock> lock_for_removal(int store_fd);

}  // namespace cfs::store
