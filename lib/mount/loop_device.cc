// SPDX-License-Identifier: Apache-2.0
#include "lib/mount/loop_device.h"

#include <linux/loop.h>
#include <sys/ioctl.h>

#include <cerrno>

#include "lib/base/io.h"

namespace cfs::mount {
namespace {

constexpr int kAttempts = 64;  // a free number may be taken by somebody else before we use it

}  // namespace

Result<LoopDevice> attach_loop_device(int file_fd) {
  Result<UniqueFd> control = open_at(AT_FDCWD, "/dev/loop-control", O_RDWR);
  if (!control) {
    Error error = std::move(control).error();
    error.code = ErrorCode::kUnsupported;
    return error;
  }
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    int number = ::ioctl(control->get(), LOOP_CTL_GET_FREE);
    if (number < 0) return errno_error("cannot get a free loop device");
    LoopDevice device;
    device.path = "/dev/loop" + std::to_string(number);
    device.fd = CFS_TRY(open_at(AT_FDCWD, device.path, O_RDONLY));
    loop_config config = {};
    config.fd = static_cast<__u32>(file_fd);
    config.block_size = 4096;
    config.info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_DIRECT_IO | LO_FLAGS_AUTOCLEAR;
    if (::ioctl(device.fd.get(), LOOP_CONFIGURE, &config) == 0) return device;
    if (errno != EBUSY) return errno_error("cannot configure '" + device.path + "'");
  }
  return make_error(ErrorCode::kBusy, "every free loop device was taken by somebody else");
}

}  // namespace cfs::mount
