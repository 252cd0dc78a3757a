// SPDX-License-Identifier: Apache-2.0
//
// Files are counted exactly, directories and extent trees a little too high, the file system's own
// blocks about as mke2fs lays them out (sparse_super, resize_inode, 64-byte group descriptors). The
// last depend on the size that is being computed: a few rounds settle it.
#include "lib/disk/root_size.h"

#include <sys/stat.h>

#include <algorithm>
#include <unordered_map>

#include "lib/base/bytes.h"
#include "lib/disk/content.h"
#include "lib/disk/ext4_layout.h"
#include "lib/verity/merkle.h"

namespace cfs::disk {
namespace {

constexpr uint64_t kMiB = 1U << 20;
constexpr uint64_t kReservedMarginBytes = 8 * kMiB;
constexpr uint64_t kBlocksPerGroup = 8 * kBlockBytes;
constexpr uint64_t kGroupDescriptorBytes = 64;
constexpr uint64_t kMaxReservedDescriptorBlocks = 1024;
constexpr uint64_t kBytesPerInode = 16384;        // mke2fs's default ratio
constexpr uint64_t kUsableDirectoryBytes = 3800;  // of a block, whatever the lengths of the names

uint64_t divide_up(uint64_t value, uint64_t divisor) { return (value + divisor - 1) / divisor; }

/// The journal must not take more than half of the file system, nor less than 1024 blocks.
constexpr uint64_t kMinSizeBytes = 16 * kMiB;
uint64_t journal_bytes(uint64_t size_bytes) {
  if (size_bytes < 64 * kMiB) return 4 * kMiB;
  return size_bytes < 1024 * kMiB ? 16 * kMiB : 64 * kMiB;
}

/// Blocks of `groups` block groups that are not for files: bitmaps, and in some groups copies of
/// the superblock, the group descriptors and room for these to grow.
/// Spec: Linux Documentation/filesystems/ext4, "Block Groups".
uint64_t group_overhead_blocks(uint64_t groups) {
  uint64_t descriptor_blocks = divide_up(groups * kGroupDescriptorBytes, kBlockBytes);
  uint64_t reserved = std::min(kMaxReservedDescriptorBlocks, 16 * groups + 16);
  uint64_t copies = std::min<uint64_t>(groups, 2);  // groups 0, 1 and powers of 3, 5 and 7
  for (uint64_t base : {3U, 5U, 7U}) {
    for (uint64_t group = base; group < groups; group *= base) ++copies;
  }
  return groups * 2 + copies * (1 + descriptor_blocks + reserved);
}

uint64_t file_blocks(uint64_t size_bytes, bool has_verity) {
  uint64_t blocks = divide_up(size_bytes, kBlockBytes);
  if (has_verity) blocks += verity::tree_blocks(size_bytes) + 1;  // and the descriptor
  // An extent holds at most 32,768 blocks; four are in the inode, 340 in a block of their own.
  return blocks + divide_up(blocks, kBlocksPerGroup * 4) - (blocks == 0 ? 0 : 1) +
         (blocks > kBlocksPerGroup / 2 ? 1 : 0);
}

}  // namespace

Result<RootNeed> root_need(std::span<const RootEntry> entries) {
  uint64_t blocks = 16;  // root directory, lost+found, resize inode
  uint64_t inodes = 16;
  std::unordered_map<std::string, uint64_t> directory_bytes;
  for (const RootEntry& entry : entries) {
    // Parents that nobody lists are made too: each path's directories count once.
    std::string path = entry.path;
    while (!path.empty()) {
      size_t slash = path.rfind('/');
      std::string parent = slash == std::string::npos ? "" : path.substr(0, slash);
      uint64_t name_bytes = path.size() - (parent.empty() ? 0 : parent.size() + 1);
      bool known_parent = directory_bytes.count(parent) != 0;
      directory_bytes[parent] += align_up(8 + name_bytes, 4);
      if (known_parent) break;
      path = std::move(parent);
    }
    if (!entry.link_to.empty()) continue;
    if (!entry.xattrs.empty()) ++blocks;
    if (S_ISDIR(entry.mode)) {
      directory_bytes[entry.path] += 0;
      continue;
    }
    ++inodes;
    if (S_ISLNK(entry.mode) && entry.symlink_target.size() >= kMaxFastSymlinkBytes) ++blocks;
    if (S_ISREG(entry.mode)) {
      blocks += file_blocks(CFS_TRY(size_of(entry.content)), entry.verity.has_value());
    }
  }
  for (const auto& [path, bytes] : directory_bytes) {
    blocks += divide_up(bytes + 24, kUsableDirectoryBytes);
    ++inodes;
  }
  return RootNeed{.bytes = blocks * kBlockBytes, .inodes = inodes};
}

uint64_t reserved_for_root_bytes(const RootNeed& need) { return need.bytes + kReservedMarginBytes; }

RootSize guess_root_size(const RootNeed& need, uint64_t free_bytes) {
  const uint64_t wanted_bytes =
      need.bytes + align_up(free_bytes, kBlockBytes) + reserved_for_root_bytes(need);
  RootSize size{.size_bytes = kMinSizeBytes};
  for (int round = 0; round < 8; ++round) {
    size.journal_bytes = journal_bytes(size.size_bytes);
    // For later: as many again as there are for the next release, and as usual for the size.
    size.inode_count = align_up(need.inodes * 2 + size.size_bytes / kBytesPerInode, 1024);
    uint64_t groups = divide_up(size.size_bytes, kBlockBytes * kBlocksPerGroup);
    uint64_t inode_table_bytes =
        size.inode_count * kInodeBytes + groups * kBlockBytes * 2;  // rounded up in each group
    uint64_t total = wanted_bytes + group_overhead_blocks(groups) * kBlockBytes +
                     size.journal_bytes + inode_table_bytes + kernel_reserve_bytes(size.size_bytes);
    // A group has as many bits for inodes as for blocks; mke2fs makes groups smaller for more.
    uint64_t rounded = align_up(std::max(total, size.inode_count * kBlockBytes), kMiB);
    if (rounded <= size.size_bytes) break;
    size.size_bytes = rounded;
  }
  return size;
}

}  // namespace cfs::disk
