// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lib/base/result.h"
#include "lib/kernel_cmdline/root_policy.h"

namespace cfs::initramfs {

/// Forgets what cfs/state/reset (lib/sysroot/reset_request.h) asks to forget, and then the request.
/// /var becomes empty; the next delivery (docs/STATE.md) fills it. `top_fd`: the disk's file
/// system, writable; `root_fd`: the image's root, with nothing mounted in it. Cut off at any
/// instant, it is done again at the next boot. Errors: those of the file system; kCorrupt (the
/// request). The request then stays.
[[nodiscard]] Result<> reset_state(int top_fd, int root_fd,
                                   const kernel_cmdline::RootPolicy& policy);

}  // namespace cfs::initramfs
