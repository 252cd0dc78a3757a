// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "lib/base/error.h"
#include "lib/kernel_cmdline/boot_options.h"

namespace cfs::initramfs {

/// The step of the boot that is under way; with the error's code it gives the documented name of a
/// failure (initramfs/README.md).
enum class Stage {
  kSetup,        ///< /proc, /sys, /dev, /run
  kCommandLine,  ///< reading the kernel command line
  kDevice,       ///< finding and mounting the root file system
  kImage,        ///< finding and measuring the image
  kMount,        ///< mounting image and overlay
  kSelfTest,     ///< looking at the finished mount
  kObjects,      ///< cfs.verify=full
  kState,        ///< /sysroot, /etc, /var
  kHandOver,     ///< moving on to the root's own init
};

/// "image-digest", "device", …: the CODE of `cfs: FATAL CODE what`.
[[nodiscard]] std::string_view failure_name(Stage stage, const Error& error);

/// Writes `cfs: TEXT` to the kernel log, which also shows it on every console.
void log_notice(const std::string& text);
void log_warning(const std::string& text);

/// Prints the one FATAL line to the kernel log and the console, leaves it behind on the disk that
/// is mounted at `disk`, if one is and `digest` is known, and does what `action` says. Never
/// returns, whatever fails.
[[noreturn]] void fail(Stage stage, const Error& error, kernel_cmdline::FailureAction action,
                       const std::string& disk, const std::optional<verity::Digest>& digest);

}  // namespace cfs::initramfs
