// SPDX-License-Identifier: Apache-2.0
#include "lib/verity/merkle.h"

#include <algorithm>

#include "lib/base/check.h"
#include "lib/base/io.h"
#include "lib/base/little_endian.h"
#include "lib/verity/sha256_blocks.h"

namespace cfs::verity {
namespace {

constexpr size_t kReadBytes = 128 * 1024;

/// On-disk descriptor. Spec: fsverity.rst, "fs-verity descriptor".
struct Descriptor {
  uint8_t version = 1;           //   0
  uint8_t hash_algorithm = 1;    //   1: FS_VERITY_HASH_ALG_SHA256
  uint8_t log_blocksize = 12;    //   2
  uint8_t salt_size = 0;         //   3
  le32 reserved_0x04 = 0;        //   4
  le64 data_size;                //   8
  std::byte root_hash[64] = {};  //  16: hash, then zeros
  std::byte salt[32] = {};       //  80
  std::byte reserved[144] = {};  // 112
};
static_assert(sizeof(Descriptor) == 256 && alignof(Descriptor) == 1);

}  // namespace

std::array<std::byte, 256> make_descriptor(uint64_t data_size_bytes,
                                           const Sha256Digest& root_hash) {
  Descriptor descriptor;
  descriptor.data_size = data_size_bytes;
  std::copy(root_hash.bytes().begin(), root_hash.bytes().end(), descriptor.root_hash);
  std::array<std::byte, 256> bytes;
  std::memcpy(bytes.data(), &descriptor, bytes.size());
  return bytes;
}

MerkleHasher::MerkleHasher(TreeBlocks tree_blocks) : tree_blocks_(tree_blocks) {}

void MerkleHasher::update(Bytes data) {
  if (data.empty()) return;  // memcpy takes no null pointer, not even for nothing
  size_bytes_ += data.size();
  if (partial_used_ > 0) {
    size_t count = std::min(kBlockSize - partial_used_, data.size());
    std::memcpy(partial_.data() + partial_used_, data.data(), count);
    partial_used_ += count;
    data = data.subspan(count);
    if (partial_used_ < kBlockSize) return;
    add_hash(0, sha256(partial_));
    partial_used_ = 0;
  }
  std::array<Sha256Digest, kHashesPerBlock> hashes;
  while (data.size() >= kBlockSize) {
    size_t count = std::min(data.size() / kBlockSize, hashes.size());
    sha256_blocks(data.first(count * kBlockSize), std::span(hashes).first(count));
    for (size_t i = 0; i < count; ++i) add_hash(0, hashes[i]);
    data = data.subspan(count * kBlockSize);
  }
  if (!data.empty()) {
    std::memcpy(partial_.data(), data.data(), data.size());
    partial_used_ = data.size();
  }
}

void MerkleHasher::update_zeros(uint64_t count) {
  CFS_CHECK(tree_blocks_ == TreeBlocks::kDrop);
  static constexpr std::array<std::byte, kBlockSize> kZeros = {};
  static const Sha256Digest zero_hash = sha256(kZeros);
  if (partial_used_ > 0) {
    auto filling = static_cast<size_t>(std::min<uint64_t>(kBlockSize - partial_used_, count));
    update(Bytes(kZeros).first(filling));
    count -= filling;
  }
  add_equal_hashes(0, zero_hash, count / kBlockSize);
  size_bytes_ += count / kBlockSize * kBlockSize;
  update(Bytes(kZeros).first(count % kBlockSize));
}

/// Whole blocks of one hash have one hash, too: level by level there is less to do.
void MerkleHasher::add_equal_hashes(size_t level, const Sha256Digest& hash, uint64_t count) {
  while (count > 0) {
    bool inside_block = level < levels_.size() && levels_[level].used % kBlockSize != 0;
    if (inside_block || count <= kHashesPerBlock) {
      add_hash(level, hash);
      --count;
      continue;
    }
    if (level == levels_.size()) levels_.emplace_back();
    if (levels_[level].used == kBlockSize) add_hash(level + 1, close_block(levels_[level]));
    // At least one hash stays for this level: only then are the blocks before it known to be full.
    uint64_t blocks = (count - 1) / kHashesPerBlock;
    std::array<std::byte, kBlockSize> block;
    for (size_t offset = 0; offset < kBlockSize; offset += Sha256Digest::kSize) {
      std::copy(hash.bytes().begin(), hash.bytes().end(), block.begin() + offset);
    }
    add_equal_hashes(level + 1, sha256(block), blocks);
    count -= blocks * kHashesPerBlock;
  }
}

void MerkleHasher::add_hash(size_t level, const Sha256Digest& hash) {
  if (level == levels_.size()) levels_.emplace_back();
  // A full block is hashed only when one more hash arrives: a level with exactly one block is the
  // top, and its hash is the root.
  if (levels_[level].used == kBlockSize) {
    add_hash(level + 1, close_block(levels_[level]));
  }
  Level& current = levels_[level];
  std::copy(hash.bytes().begin(), hash.bytes().end(),
            current.block.begin() + static_cast<std::ptrdiff_t>(current.used));
  current.used += Sha256Digest::kSize;
}

Sha256Digest MerkleHasher::close_block(Level& level) {
  std::fill(level.block.begin() + static_cast<std::ptrdiff_t>(level.used), level.block.end(),
            std::byte{0});
  level.used = 0;
  if (tree_blocks_ == TreeBlocks::kKeep) {
    level.kept.insert(level.kept.end(), level.block.begin(), level.block.end());
  }
  return sha256(level.block);
}

Sha256Digest MerkleHasher::finish_root() {
  if (partial_used_ > 0) {
    std::fill(partial_.begin() + static_cast<std::ptrdiff_t>(partial_used_), partial_.end(),
              std::byte{0});
    add_hash(0, sha256(partial_));
  }
  for (size_t level = 0; level < levels_.size(); ++level) {
    Level& current = levels_[level];
    bool is_top = level + 1 == levels_.size();
    if (is_top && current.used == Sha256Digest::kSize) {  // one data block: no tree
      return *Sha256Digest::from_bytes(Bytes(current.block).first(Sha256Digest::kSize));
    }
    Sha256Digest hash = close_block(current);
    if (is_top) return hash;
    add_hash(level + 1, hash);
  }
  return {};  // all zeros for empty data
}

void MerkleHasher::start_anew() {
  size_bytes_ = 0;
  partial_used_ = 0;
  levels_.clear();
}

Digest MerkleHasher::finish() {
  Digest digest = sha256(make_descriptor(size_bytes_, finish_root()));
  start_anew();
  return digest;
}

Metadata MerkleHasher::finish_metadata() {
  CFS_CHECK(tree_blocks_ == TreeBlocks::kKeep);
  Metadata metadata;
  metadata.descriptor = make_descriptor(size_bytes_, finish_root());
  metadata.digest = sha256(metadata.descriptor);
  for (auto level = levels_.rbegin(); level != levels_.rend(); ++level) {
    metadata.tree.insert(metadata.tree.end(), level->kept.begin(), level->kept.end());
  }
  start_anew();
  return metadata;
}

Digest digest_of(Bytes data) {
  MerkleHasher hasher;
  hasher.update(data);
  return hasher.finish();
}

Result<Digest> digest_of_fd(int fd) {
  MerkleHasher hasher;
  std::vector<std::byte> buffer(kReadBytes);
  for (;;) {
    size_t count = CFS_TRY(read_full(fd, buffer));
    hasher.update(Bytes(buffer).first(count));
    if (count < buffer.size()) return hasher.finish();
  }
}

}  // namespace cfs::verity
