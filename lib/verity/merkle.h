// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "lib/base/result.h"
#include "lib/verity/digest.h"
#include "lib/verity/sha256.h"

namespace cfs::verity {

constexpr size_t kBlockSize = 4096;
constexpr size_t kHashesPerBlock = kBlockSize / Sha256Digest::kSize;

/// Blocks of the Merkle tree of `data_size_bytes` bytes: none for up to one block of data.
/// Spec: fsverity.rst, "Merkle tree".
[[nodiscard]] constexpr uint64_t tree_blocks(uint64_t data_size_bytes) {
  uint64_t total = 0;
  uint64_t level = data_size_bytes / kBlockSize + (data_size_bytes % kBlockSize == 0 ? 0 : 1);
  while (level > 1) {
    level = (level + kHashesPerBlock - 1) / kHashesPerBlock;
    total += level;
  }
  return total;
}

/// What a file system stores beside the content of a file that has fs-verity.
struct Metadata {
  Digest digest;
  std::array<std::byte, 256> descriptor;
  /// The blocks of the Merkle tree, the root's first, then level by level. Empty when the data has
  /// at most one block. Spec: fsverity.rst, "Merkle tree".
  std::vector<std::byte> tree;
};

enum class TreeBlocks { kDrop, kKeep };

/// Computes the fs-verity digest of a stream. Memory: one 4 KiB block a tree level, or with kKeep
/// the whole tree, 1/127 of the data.
///
///   MerkleHasher hasher;
///   hasher.update(piece);   // any sizes; multiples of 4096 are fastest
///   Digest digest = hasher.finish();
///
/// Empty data has the kernel's digest (all-zero root hash), not the C composefs library's.
/// Spec: fsverity.rst, "Merkle tree" and "fs-verity descriptor". One thread at a time.
class MerkleHasher {
 public:
  explicit MerkleHasher(TreeBlocks tree_blocks = TreeBlocks::kDrop);
  void update(Bytes data);
  /// The same for `count` zeros, in a time that hardly depends on their number. Not for a hasher
  /// that keeps its tree.
  void update_zeros(uint64_t count);
  /// The digest of all data so far. The hasher starts anew afterwards.
  [[nodiscard]] Digest finish();
  /// As finish(), with the tree and the descriptor. Only for a hasher that keeps its tree.
  [[nodiscard]] Metadata finish_metadata();

  /// Bytes hashed since the start.
  [[nodiscard]] uint64_t size_bytes() const { return size_bytes_; }

 private:
  struct Level {
    std::array<std::byte, kBlockSize> block;
    size_t used = 0;
    std::vector<std::byte> kept;  ///< full blocks, in the order of the data
  };
  void add_hash(size_t level, const Sha256Digest& hash);
  void add_equal_hashes(size_t level, const Sha256Digest& hash, uint64_t count);
  /// Hashes the block that `level` has collected, and keeps it if asked to.
  Sha256Digest close_block(Level& level);
  /// Closes all levels. Only start_anew() may follow.
  Sha256Digest finish_root();
  void start_anew();

  TreeBlocks tree_blocks_;
  uint64_t size_bytes_ = 0;
  std::array<std::byte, kBlockSize> partial_{};  ///< data block not yet full
  size_t partial_used_ = 0;
  std::vector<Level> levels_;  ///< levels_[0] collects hashes of data blocks
};

/// The fs-verity digest of `data`.
[[nodiscard]] Digest digest_of(Bytes data);

/// The fs-verity digest of what can be read from `fd` from its current position on, by reading.
[[nodiscard]] Result<Digest> digest_of_fd(int fd);

/// The 256-byte descriptor whose SHA-256 is the digest.
/// `root_hash`: all zeros for empty data. Spec: fsverity.rst, "fs-verity descriptor".
[[nodiscard]] std::array<std::byte, 256> make_descriptor(uint64_t data_size_bytes,
                                                         const Sha256Digest& root_hash);

}  // namespace cfs::verity
