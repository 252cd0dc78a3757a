// SPDX-License-Identifier: Apache-2.0
// Numbers of the ext4 file systems that cfs makes.
// Spec: Linux Documentation/filesystems/ext4; fsverity.rst, "ext4".
#pragma once

#include <algorithm>
#include <cstdint>

namespace cfs::disk {

constexpr uint64_t kBlockBytes = 4096;
constexpr uint64_t kInodeBytes = 256;
/// Shorter symlink targets stand in the inode.
constexpr uint64_t kMaxFastSymlinkBytes = 60;
/// The Merkle tree begins at the first multiple of this at or behind the end of the file.
constexpr uint64_t kVerityAlignmentBytes = 65536;

/// What the kernel keeps back of the free blocks of a mounted file system of `size_bytes`: 2
/// percent, at most 4096 blocks. Spec: ext4 documentation, "reserved_clusters".
constexpr uint64_t kernel_reserve_bytes(uint64_t size_bytes) {
  return std::min(size_bytes / 50, 4096 * kBlockBytes);
}

}  // namespace cfs::disk
