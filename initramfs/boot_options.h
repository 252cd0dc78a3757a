// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/mount/command_line.h"
#include "lib/verity/digest.h"

namespace cfs::initramfs {

enum class FailureAction { kReboot, kPowerOff, kHalt };

/// How much is proven before the switch.
enum class VerifyLevel {
  kBoot,  ///< the image, and reading init
  kFull,  ///< also: every file's object is there and has the digest the image names
};

/// What the kernel command line asks for (docs/FORMATS.md, "Kernel command line").
struct BootOptions {
  verity::Digest digest;
  std::string root = "LABEL=cfs";
  unsigned root_delay_seconds = 30;  ///< how long to wait for the root device at most
  VerifyLevel verify = VerifyLevel::kBoot;
  std::string init = "/sbin/init";
  std::vector<std::string> unknown;  ///< names of `cfs.` options that mean nothing here
};

/// kInvalidInput: the pinned digest is missing or malformed, an option of ours has two different
/// values or an unknown one.
[[nodiscard]] Result<BootOptions> parse_boot_options(const mount::CommandLine& command_line);

/// `cfs.on_failure`. Never fails, because it decides what happens to failures: whatever cannot be
/// understood means reboot.
[[nodiscard]] FailureAction parse_failure_action(const mount::CommandLine& command_line);

}  // namespace cfs::initramfs
