// SPDX-License-Identifier: Apache-2.0
// A deployment on trial has tries, which the boot loader counts. One that was proven good has none:
// should it stop booting one day, nobody but this would ever start another one.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lib/base/result.h"

namespace cfs::initramfs {

/// The boot entry to start in place of `selected`: that of the first of refs/previous, refs/booted
/// and refs/recovery in the sysroot `cfs_fd` which is another deployment, is not marked bad, and
/// has one. `entries`: the file names of all that there are. Nothing: there is none.
[[nodiscard]] std::optional<std::string> entry_of_other_deployment(
    int cfs_fd, const std::string& selected, const std::vector<std::string>& entries);

/// Asks the boot loader to start that one at the next boot, and only then, unless it counts the
/// boots of what it has started. Returns its file name; nothing: it was not asked.
/// Errors: those of lib/boot/efi_variables.h.
[[nodiscard]] Result<std::optional<std::string>> ask_for_other_deployment(
    int cfs_fd, const std::string& efi_variables);

}  // namespace cfs::initramfs
