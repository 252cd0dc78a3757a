// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "lib/boot/esp.h"

namespace cfs::deploy {

/// The ESP of this device, mounted while this object lives if it was not.
class MountedEsp {
 public:
  /// `path`: the directory to take; empty: what is mounted on /boot/efi, /efi or /boot, else the
  /// partition called "cfs-esp", mounted for this process alone (needs root).
  /// Errors: kNotFound (no ESP), kUnsupported (no vfat in the kernel).
  [[nodiscard]] static Result<MountedEsp> open(const std::string& path);
  MountedEsp(MountedEsp&& other) noexcept;
  MountedEsp& operator=(MountedEsp&&) = delete;
  MountedEsp(const MountedEsp&) = delete;
  MountedEsp& operator=(const MountedEsp&) = delete;
  ~MountedEsp();

  [[nodiscard]] boot::Esp& operator*() { return *esp_; }
  [[nodiscard]] int directory_fd() const { return directory_.get(); }

 private:
  MountedEsp() = default;
  std::optional<boot::Esp> esp_;
  UniqueFd directory_;
  std::string mount_point_;  // ours, to be unmounted; or empty
};

}  // namespace cfs::deploy
