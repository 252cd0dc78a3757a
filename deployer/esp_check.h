// SPDX-License-Identifier: Apache-2.0
// The check of the EFI system partition. FAT has no journal: after a power cut a file may have
// clusters that are marked as free. Whoever removes it, or writes another one, may then damage a
// third, or is refused by the kernel, which goes on read-only.
#pragma once

#include <string>

#include "deployer/environment.h"
#include "lib/base/result.h"

namespace cfs::deployer {

/// True if the FAT file system on `device` was not left clean, as the kernel notes when it mounts
/// one writable. False also when it is none, or cannot be read: whoever mounts it says so.
/// Spec: Linux, include/uapi/linux/msdos_fs.h, FAT_STATE_DIRTY.
[[nodiscard]] bool is_unclean_fat(const std::string& device);

/// Has fsck.vfat repair the file system on `device` if it was not left clean and nobody has it
/// mounted, anywhere: while it is mounted writable it has the same mark. Returns true if it ran.
/// Errors: kNotFound (there is no fsck.vfat), kSubprocess (it failed), kInterrupted; those of
/// opening the device.
/// Spec: fsck.fat(8), "EXIT STATUS".
[[nodiscard]] Result<bool> check_esp(const Environment& environment, const std::string& device);

/// Removes what fsck.vfat has saved of lost clusters in the directory `root_fd`: FSCK0000.REC and
/// so on. What they are of is written anew from the sysroot. Errors: those of removing.
[[nodiscard]] Result<> remove_saved_clusters(int root_fd);

}  // namespace cfs::deployer
