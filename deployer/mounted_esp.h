// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "lib/boot/esp.h"

namespace cfs::deployer {

/// The ESP of this device, mounted while this object lives if it was not.
class MountedEsp {
 public:
  /// `path`: the directory to take; empty: what is mounted on /boot/efi, /efi or /boot, else the
  /// partition called "cfs-esp", mounted for this process alone (needs root).
  /// Errors: kNotFound (no ESP), kUnsupported (no vfat in the kernel).
  [[nodiscard]] static Result<MountedEsp> open(const std::string& path);
  [[nodiscard]] boot::Esp& operator*() { return esp_; }
  [[nodiscard]] int directory_fd() const { return directory_.get(); }

 private:
  MountedEsp(boot::Esp esp, UniqueFd directory)
      : esp_(std::move(esp)), directory_(std::move(directory)) {}
  boot::Esp esp_;
  UniqueFd directory_;
};

}  // namespace cfs::deployer
