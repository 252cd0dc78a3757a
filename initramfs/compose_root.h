// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include "initramfs/failure.h"
#include "lib/base/result.h"
#include "lib/base/unique_fd.h"
#include "lib/kernel_cmdline/boot_options.h"

namespace cfs::initramfs {

/// Opens the image `digest` below the top of a device's file system. Its name must be the link that
/// the deployer makes. Errors: kNotFound, kCorrupt (another link). Trust: the content is anything
/// until check_image_digest() has measured it.
[[nodiscard]] Result<UniqueFd> open_pinned_image(int sysroot_fd, const verity::Digest& digest);

/// Puts the pinned root together out of the file system mounted at `target` and leaves it mounted
/// at `target`, with that file system visible (read-only) at its /sysroot, an /etc and a root
/// as the image and the command line want them (lib/kernel_cmdline/root_policy.h), cfs/state/var on
/// /var and, unless `cfs.var=plain`, memory on /var/tmp. Forgets first what `cfs-deploy reset`
/// asked to forget. `load_loop` is called when the kernel turns out to need loop devices and has
/// none. Keeps `stage` up to date. On an error the mounts are left as they are: the caller does not
/// go on.
///
/// Trust: of the file system at `target` nothing is used before the image has been measured but the
/// names in the path to it.
[[nodiscard]] Result<> compose_root(const std::string& target,
                                    const kernel_cmdline::BootOptions& options,
                                    const std::function<void()>& load_loop, Stage& stage);

}  // namespace cfs::initramfs
