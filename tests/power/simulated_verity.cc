// SPDX-License-Identifier: Apache-2.0
// Linked into a program, it gives it a kernel with fs-verity: enabling always succeeds and
// measuring reads the file and hashes it. Nothing keeps anybody from changing the file afterwards.
//
// The kernel reads one block to measure a file, the descriptor, and hashes 256 bytes of it. Of a
// file of one block this reads one block and hashes it and the descriptor: no less work.
#include <fcntl.h>
#include <linux/fsverity.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdarg>
#include <cstring>
#include <vector>

#include "lib/base/io.h"
#include "lib/verity/merkle.h"

namespace {

cfs::Result<cfs::verity::Digest> digest_of_file(int fd) {
  thread_local std::vector<std::byte> buffer(64 << 10);
  thread_local cfs::verity::MerkleHasher hasher;
  for (uint64_t offset = 0;;) {
    const size_t count = CFS_TRY(cfs::pread_full(fd, buffer, offset));
    hasher.update(cfs::Bytes(buffer).first(count));
    offset += count;
    if (count < buffer.size()) return hasher.finish();
  }
}

int measure(int fd, fsverity_digest* answer) {
  cfs::Result<cfs::verity::Digest> digest = digest_of_file(fd);
  if (!digest) {
    errno = digest.error().sys_errno;
    return -1;
  }
  answer->digest_algorithm = FS_VERITY_HASH_ALG_SHA256;
  answer->digest_size = cfs::verity::Digest::kSize;
  std::memcpy(answer->digest, digest->bytes().data(), cfs::verity::Digest::kSize);
  return 0;
}

}  // namespace

/// In the place of libc's.
extern "C" int ioctl(int fd, unsigned long request, ...) noexcept {
  va_list arguments;
  va_start(arguments, request);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  if (request == FS_IOC_ENABLE_VERITY) return 0;
  if (request == FS_IOC_MEASURE_VERITY) return measure(fd, static_cast<fsverity_digest*>(argument));
  return static_cast<int>(::syscall(SYS_ioctl, fd, request, argument));
}
