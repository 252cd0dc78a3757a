// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "lib/base/result.h"
#include "lib/disk/root_entry.h"

namespace cfs::disk {

/// Dimensions of an ext4 file system that has room for some entries.
struct RootSize {
  uint64_t size_bytes = 0;     ///< multiple of 1 MiB, at least 16 MiB
  uint64_t inode_count = 0;    ///< with some for later
  uint64_t journal_bytes = 0;  ///< multiple of 1 MiB
};

/// Looks at every entry's content and adds up. The free space of the file system will be
/// `free_bytes` or a little more. Errors: those of size_of().
[[nodiscard]] Result<RootSize> size_root(std::span<const RootEntry> entries, uint64_t free_bytes);

}  // namespace cfs::disk
