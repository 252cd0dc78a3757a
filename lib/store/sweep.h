// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "lib/base/result.h"
#include "lib/verity/digest.h"

namespace cfs::store {

enum class Removal { kRemove, kOnlyCount };

/// What was removed, or would be.
struct Removed {
  uint64_t objects = 0;
  uint64_t disk_bytes = 0;  ///< allocated blocks, fs-verity's trees included
  bool operator==(const Removed&) const = default;
};

/// Removes every object in the store `store_fd` that is not in `keep`, which is sorted, or only
/// counts them. Whoever removes holds the lock for it (lock.h).
///
/// Only a regular file whose name is an object's is one: symlinks, directories and files of other
/// names are left alone, and nothing leads out of the store. Of an object in `keep` nothing is read
/// but the name. Memory: of one directory's names a CPU. Errors: kInterrupted, those of the system
/// calls.
[[nodiscard]] Result<Removed> sweep(int store_fd, std::span<const verity::Digest> keep,
                                    Removal removal);

}  // namespace cfs::store
