// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "lib/base/result.h"
#include "lib/disk/root_entry.h"

namespace cfs::disk {

/// What entries take of an ext4 file system: never less than they will, and little more.
struct RootNeed {
  uint64_t bytes = 0;
  uint64_t inodes = 0;
};

/// Looks at every entry's content and adds up. Errors: those of size_of().
[[nodiscard]] Result<RootNeed> root_need(std::span<const RootEntry> entries);

/// Kept for root beyond the space that everybody has: room for as much again, and the margin that
/// cfs-deploy asks for.
[[nodiscard]] uint64_t reserved_for_root_bytes(const RootNeed& need);

/// Dimensions of an ext4 file system.
struct RootSize {
  uint64_t size_bytes = 0;     ///< multiple of 1 MiB, at least 16 MiB
  uint64_t inode_count = 0;    ///< with some for later
  uint64_t journal_bytes = 0;  ///< multiple of 1 MiB
};

/// Dimensions with which `need`, `free_bytes` for everybody and what is reserved for root will fit,
/// or nearly.
[[nodiscard]] RootSize guess_root_size(const RootNeed& need, uint64_t free_bytes);

}  // namespace cfs::disk
