// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "deployer/sysroot/sysroot.h"
#include "lib/boot/systemd_boot.h"

namespace cfs::deployer {

/// The EFI system partition of this device, mounted while this object lives if it was not, and the
/// boot loader on it.
class MountedEsp {
 public:
  /// `path`: the directory to take; empty: the partition that this machine was booted from, where
  /// it is mounted, else mounted for this process alone (needs root), read-only for Access::kRead;
  /// otherwise it is checked before if it was not left clean (check_esp()). For Access::kWrite,
  /// for which the caller holds the deployment lock, what earlier ones have left is removed.
  /// Errors: kNotFound (no ESP, or several), kUnsupported (no vfat in the kernel).
  [[nodiscard]] static Result<MountedEsp> open(const std::string& path,
                                               const Environment& environment, Access access);
  [[nodiscard]] boot::BootLoader& loader() { return loader_; }
  [[nodiscard]] const boot::BootLoader& loader() const { return loader_; }

 private:
  explicit MountedEsp(boot::SystemdBoot loader) : loader_(std::move(loader)) {}
  boot::SystemdBoot loader_;
};

/// The device file of the ESP that the boot loader was started from, or, where the boot loader does
/// not say, of the only partition called "cfs-esp".
/// Errors: kNotFound (there is no such partition, or several of that name).
[[nodiscard]] Result<std::string> find_esp(const Environment& environment);

/// What `mount` returns. It is called again while somebody else has the device (EBUSY), for about
/// `limit`. Errors: its own; kInterrupted.
[[nodiscard]] Result<UniqueFd> mount_when_free(std::chrono::milliseconds limit,
                                               const std::function<Result<UniqueFd>()>& mount);

}  // namespace cfs::deployer
