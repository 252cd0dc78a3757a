// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "initramfs/failure.h"
#include "lib/base/result.h"
#include "lib/kernel_cmdline/boot_options.h"

namespace cfs::initramfs {

/// Puts the pinned root together out of the file system mounted at `target` and leaves it mounted
/// at `target`, with that file system visible (writable) at its /sysroot, a transient overlay on
/// /etc and cfs/state/var on /var. Keeps `stage` up to date. On an error the mounts are left as
/// they are: the caller does not go on.
///
/// Trust: of the file system at `target` nothing is used before the image has been measured but the
/// names in the path to it.
[[nodiscard]] Result<> compose_root(const std::string& target,
                                    const kernel_cmdline::BootOptions& options, Stage& stage);

}  // namespace cfs::initramfs
