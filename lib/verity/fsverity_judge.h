// SPDX-License-Identifier: Apache-2.0
// For tests: what libfsverity, which others wrote, says about the same bytes.
#pragma once

#include <gtest/gtest.h>
#include <libfsverity.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "lib/base/bytes.h"
#include "lib/base/hex.h"

namespace cfs::verity {

struct Judged {
  std::string digest;                 ///< hex
  std::vector<std::byte> tree;        ///< the Merkle tree's blocks, as they lie behind a file's end
  std::vector<std::byte> descriptor;  ///< behind the tree
};

/// SHA-256, blocks of 4096 bytes, no salt.
inline Judged judged_by_libfsverity(Bytes data) {
  Judged result;
  libfsverity_metadata_callbacks callbacks = {};
  callbacks.ctx = &result;
  callbacks.merkle_tree_size = [](void* context, uint64_t size) {
    static_cast<Judged*>(context)->tree.resize(size);
    return 0;
  };
  callbacks.merkle_tree_block = [](void* context, const void* block, size_t size, uint64_t offset) {
    std::memcpy(static_cast<Judged*>(context)->tree.data() + offset, block, size);
    return 0;
  };
  callbacks.descriptor = [](void* context, const void* descriptor, size_t size) {
    Bytes bytes = std::as_bytes(std::span(static_cast<const char*>(descriptor), size));
    static_cast<Judged*>(context)->descriptor.assign(bytes.begin(), bytes.end());
    return 0;
  };
  libfsverity_merkle_tree_params params = {};
  params.version = 1;
  params.hash_algorithm = FS_VERITY_HASH_ALG_SHA256;
  params.block_size = 4096;
  params.file_size = data.size();
  params.metadata_callbacks = &callbacks;
  libfsverity_digest* digest = nullptr;
  int failed = libfsverity_compute_digest(
      &data,
      [](void* rest, void* buffer, size_t count) {
        auto& left = *static_cast<Bytes*>(rest);
        std::memcpy(buffer, left.data(), count);
        left = left.subspan(count);
        return 0;
      },
      &params, &digest);
  EXPECT_EQ(failed, 0);
  result.digest = to_hex(std::as_bytes(std::span(digest->digest, digest->digest_size)));
  std::free(digest);
  return result;
}

}  // namespace cfs::verity
