// SPDX-License-Identifier: Apache-2.0
#include "lib/store/file_digest.h"

#include <algorithm>

#include "lib/base/check.h"
#include "lib/base/interrupt.h"
#include "lib/base/io.h"

namespace cfs::store {
namespace {

bool same_time(const timespec& a, const timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/// Pieces are read to `buffer`, one over the other when it is smaller than the file.
Result<FileDigest> digest_pieces(int fd, const struct stat& status, verity::MerkleHasher& hasher,
                                 std::span<std::byte> buffer) {
  auto size_bytes = static_cast<uint64_t>(status.st_size);
  bool keep = buffer.size() >= size_bytes;
  for (uint64_t offset = 0; offset < size_bytes;) {
    CFS_TRY(check_interrupted());
    size_t count =
        static_cast<size_t>(std::min<uint64_t>(Workspace::kPieceBytes, size_bytes - offset));
    std::span<std::byte> piece = buffer.subspan(keep ? static_cast<size_t>(offset) : 0, count);
    if (CFS_TRY(pread_full(fd, piece, offset)) != count) return source_changed();
    hasher.update(piece);
    offset += count;
  }
  FileDigest result{hasher.finish(), size_bytes};
  CFS_TRY(check_unchanged(fd, status));
  return result;
}

}  // namespace

Error source_changed() {
  return make_error(ErrorCode::kSourceChanged, "the file changed while it was read")
      .with_hint("stop what writes to the source, or build from a snapshot of it");
}

Result<> check_unchanged(int fd, const struct stat& status) {
  struct stat now = CFS_TRY(fstat_fd(fd));
  if (now.st_size != status.st_size || !same_time(now.st_mtim, status.st_mtim) ||
      !same_time(now.st_ctim, status.st_ctim)) {
    return source_changed();
  }
  return {};
}

Result<FileDigest> digest_file(int fd, const struct stat& status) {
  Workspace workspace;
  return digest_pieces(fd, status, workspace.hasher(),
                       workspace.buffer().first(Workspace::kPieceBytes));
}

Result<FileDigest> read_and_digest(int fd, const struct stat& status, verity::MerkleHasher& hasher,
                                   std::span<std::byte> content) {
  CFS_CHECK(content.size() == static_cast<uint64_t>(status.st_size));
  return digest_pieces(fd, status, hasher, content);
}

std::unique_ptr<Workspace::Memory>& Workspace::spare() {
  thread_local std::unique_ptr<Memory> memory;
  return memory;
}

Workspace::Workspace() : memory_(std::move(spare())) {
  if (!memory_) memory_ = std::make_unique_for_overwrite<Memory>();
}

Workspace::~Workspace() {
  if (memory_->hasher.size_bytes() != 0)
    memory_->hasher = verity::MerkleHasher();  // left by an error
  spare() = std::move(memory_);
}

}  // namespace cfs::store
