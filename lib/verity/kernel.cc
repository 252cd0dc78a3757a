// SPDX-License-Identifier: Apache-2.0
#include "lib/verity/kernel.h"

#include <linux/fsverity.h>
#include <sys/ioctl.h>

#include <cerrno>

namespace cfs::verity {

Result<Digest> measure(int fd) {
  constexpr uint16_t kMaxDigestSize = 64;
  alignas(fsverity_digest) std::byte buffer[sizeof(fsverity_digest) + kMaxDigestSize] = {};
  auto* answer = reinterpret_cast<fsverity_digest*>(buffer);
  answer->digest_size = kMaxDigestSize;
  if (::ioctl(fd, FS_IOC_MEASURE_VERITY, answer) != 0) {
    switch (errno) {
      case ENODATA:
      case ENOTTY:
      case EOPNOTSUPP: {
        Error error = errno_error("no fs-verity on the file");
        error.code = ErrorCode::kNoVerity;
        return error;
      }
      default:
        return errno_error("cannot measure fs-verity");
    }
  }
  if (answer->digest_algorithm != FS_VERITY_HASH_ALG_SHA256 ||
      answer->digest_size != Digest::kSize) {
    return make_error(ErrorCode::kUnsupported, "the file's fs-verity digest is not SHA-256");
  }
  return *Digest::from_bytes(Bytes(buffer).subspan(sizeof(fsverity_digest), Digest::kSize));
}

Result<> enable(int fd) {
  fsverity_enable_arg argument = {};
  argument.version = 1;
  argument.hash_algorithm = FS_VERITY_HASH_ALG_SHA256;
  argument.block_size = 4096;
  if (::ioctl(fd, FS_IOC_ENABLE_VERITY, &argument) == 0 || errno == EEXIST) return {};
  int failure = errno;
  Error error = errno_error("cannot enable fs-verity", failure);
  // EINVAL: ext4 whose blocks are not 4 KiB; the arguments above are never wrong.
  if (failure == ENOTTY || failure == EOPNOTSUPP || failure == EINVAL) {
    error.code = ErrorCode::kUnsupported;
  }
  if (failure == ETXTBSY) error.code = ErrorCode::kBusy;
  return error;
}

}  // namespace cfs::verity
