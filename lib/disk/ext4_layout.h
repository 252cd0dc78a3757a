// SPDX-License-Identifier: Apache-2.0
// Numbers of the ext4 file systems that cfs makes.
// Spec: Linux Documentation/filesystems/ext4; fsverity.rst, "ext4".
#pragma once

#include <cstdint>

namespace cfs::disk {

constexpr uint64_t kBlockBytes = 4096;
constexpr uint64_t kInodeBytes = 256;
/// Shorter symlink targets stand in the inode.
constexpr uint64_t kMaxFastSymlinkBytes = 60;
/// The Merkle tree begins at the first multiple of this at or behind the end of the file.
constexpr uint64_t kVerityAlignmentBytes = 65536;

}  // namespace cfs::disk
