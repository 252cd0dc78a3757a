// SPDX-License-Identifier: Apache-2.0
// A deployment on trial has tries, which the boot loader counts. One that was proven good has none:
// should it stop booting one day, nobody but this would ever start another one.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "initramfs/failure_record.h"
#include "lib/base/result.h"

namespace cfs::initramfs {

/// The boot entry of another deployment: that of the first of refs/previous, refs/booted and
/// refs/recovery in the sysroot `cfs_fd` which is none of `tried` and has one. One that is marked
/// bad comes after the others: in user space somebody can mend what is left.
/// `entries`: the file names of all that there are. Nothing: there is none.
[[nodiscard]] std::optional<std::string> entry_of_other_deployment(
    int cfs_fd, const std::vector<std::string>& tried, const std::vector<std::string>& entries);

/// Records a failure. If the deployment that the boot loader has started fails again, or the
/// failure cannot be recorded, also asks it to start another one at the next boot, and only then;
/// unless it counts the boots of what it has started. One that was asked for and fails is followed
/// by the next. When all were tried, it begins with the first again. If failures cannot be
/// recorded, the next one is the one after the one that failed, in the circle of refs/booted,
/// refs/previous and refs/recovery.
/// `failure.tried` is set here. `efi_variables`: where efivarfs is mounted; empty: nowhere. Returns
/// the file name of the entry that was asked for.
/// Errors: those of record_failure() and of lib/boot/efi_variables.h.
[[nodiscard]] Result<std::optional<std::string>> leave_behind(int cfs_fd,
                                                              const std::string& efi_variables,
                                                              BootFailure failure);

}  // namespace cfs::initramfs
