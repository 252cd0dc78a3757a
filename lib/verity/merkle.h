// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "lib/base/result.h"
#include "lib/verity/digest.h"

namespace cfs::verity {

constexpr size_t kBlockSize = 4096;
constexpr size_t kHashesPerBlock = kBlockSize / Sha256Digest::kSize;

/// SHA-256 of `data`.
[[nodiscard]] Sha256Digest sha256(Bytes data);

/// Computes the fs-verity digest of a stream. Memory: one 4 KiB block a tree level.
///
///   MerkleHasher hasher;
///   hasher.update(piece);   // any sizes; multiples of 4096 are fastest
///   Digest digest = hasher.finish();
///
/// Empty data has the kernel's digest (all-zero root hash), not the C composefs library's.
/// Spec: fsverity.rst, "Merkle tree" and "fs-verity descriptor". One thread at a time.
class MerkleHasher {
 public:
  MerkleHasher();
  void update(Bytes data);
  /// The digest of all data so far. The hasher starts anew afterwards.
  [[nodiscard]] Digest finish();

  /// Bytes hashed since the start.
  [[nodiscard]] uint64_t size_bytes() const { return size_bytes_; }

 private:
  struct Level {
    std::array<std::byte, kBlockSize> block;
    size_t used = 0;
  };
  void add_hash(size_t level, const Sha256Digest& hash);

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
