// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "lib/base/result.h"
#include "lib/base/unique_fd.h"

namespace cfs::mount {

/// A read-only block device whose content is a file. The kernel frees it when the last user (a
/// mount or the descriptor) is gone.
struct LoopDevice {
  std::string path;
  UniqueFd fd;
};

/// Attaches `file_fd` to a free loop device: 4096-byte blocks, read-only, auto-clear.
/// Errors: kUnsupported when the kernel has no loop devices. Spec: loop(4), LOOP_CONFIGURE.
[[nodiscard]] Result<LoopDevice> attach_loop_device(int file_fd);

}  // namespace cfs::mount
