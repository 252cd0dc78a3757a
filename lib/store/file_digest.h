// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>

#include <memory>
#include <span>

#include "lib/base/result.h"
#include "lib/verity/merkle.h"

namespace cfs::store {

/// What was read or stored.
struct FileDigest {
  verity::Digest digest;
  uint64_t size_bytes = 0;
};

/// The fs-verity digest of the regular file `fd`, by reading it, whatever its position. `status` is
/// what fstat said when the caller looked at the file.
/// Errors: kSourceChanged when size, mtime or ctime moved since then; kInterrupted; kIo.
/// Thread-safe.
[[nodiscard]] Result<FileDigest> digest_file(int fd, const struct stat& status);

/// The same, keeping what was read: `content` has the size of the file.
[[nodiscard]] Result<FileDigest> read_and_digest(int fd, const struct stat& status,
                                                 verity::MerkleHasher& hasher,
                                                 std::span<std::byte> content);

/// The error kSourceChanged.
[[nodiscard]] Error source_changed();

/// kSourceChanged unless `fd` still has the size, mtime and ctime of `status`.
[[nodiscard]] Result<> check_unchanged(int fd, const struct stat& status);

/// A buffer and a hasher borrowed for one operation. Each thread keeps one for the next: a file of
/// a few kilobytes is hashed in less time than they take to allocate.
class Workspace {
 public:
  static constexpr size_t kBufferBytes = 1 << 20;
  /// Data is read and hashed in pieces that stay in the processor's cache.
  static constexpr size_t kPieceBytes = 128 << 10;

  Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  ~Workspace();

  [[nodiscard]] std::span<std::byte> buffer() { return {memory_->buffer, kBufferBytes}; }
  [[nodiscard]] verity::MerkleHasher& hasher() { return memory_->hasher; }

 private:
  struct Memory {
    verity::MerkleHasher hasher;
    std::byte buffer[kBufferBytes];
  };
  static std::unique_ptr<Memory>& spare();
  std::unique_ptr<Memory> memory_;
};

}  // namespace cfs::store
