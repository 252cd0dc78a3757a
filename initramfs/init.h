// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "initramfs/failure.h"
#include "lib/base/result.h"
#include "lib/kernel_cmdline/command_line.h"

namespace cfs::initramfs {

/// Where the disk, and then the root, is mounted by boot_as_init().
constexpr const char* kSysroot = "/sysroot";

/// /proc, /sys, /dev, /run, and an open console, for process 1 of the built-in initramfs.
[[nodiscard]] Result<> mount_kernel_file_systems();

/// Loads the modules of the built-in initramfs, finds and mounts the root device, composes the root
/// at /sysroot, moves into it and becomes its init. Returns only on failure; `stage` then says
/// where.
[[nodiscard]] Error boot_as_init(const kernel_cmdline::CommandLine& command_line, char** arguments,
                                 Stage& stage);

}  // namespace cfs::initramfs
