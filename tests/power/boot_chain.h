// SPDX-License-Identifier: Apache-2.0
// What a device does between power on and its root file system, followed on this machine: the boot
// loader's choice → the UKI → the digest that it pins → the image → every object of the image.
#pragma once

#include <map>
#include <set>
#include <string>

#include "lib/boot/boot_loader.h"
#include "tests/power/device_files.h"

namespace cfs::power {

/// Where a device's files are: the root of its ESP as a directory, and its sysroot.
class Device {
 public:
  /// The SHA-256 of the UKI of each published release, by the release's image.
  using Published = std::map<verity::Digest, verity::Sha256Digest>;

  /// `files`: null when the chain is not to be followed.
  Device(const boot::BootLoader& loader, UniqueFd esp, DeviceFiles* files, Published published)
      : loader_(loader), esp_(std::move(esp)), files_(files), published_(std::move(published)) {}

  /// The entry that the boot loader starts; it has a digest. Errors: kNotFound, kCorrupt.
  [[nodiscard]] Result<boot::BootEntry> next() const;

  /// Follows the chain from the entry that the boot loader starts, and returns that. Errors:
  /// kNotFound (something is missing), kCorrupt, kDigestMismatch, kNoVerity (something is there and
  /// not as it was published).
  [[nodiscard]] Result<boot::BootEntry> check_boots();

  /// Succeeds if the image could be booted: some entry boots it, and everything behind that entry
  /// is whole. Errors as above.
  [[nodiscard]] Result<> check_could_boot(const verity::Digest& image);

  /// Objects that were looked at so far, images among them.
  [[nodiscard]] size_t object_count() const { return sound_.size(); }

 private:
  Result<> check_entry(const boot::BootEntry& entry);
  Result<> check_uki(const std::string& name, const verity::Digest& image);
  Result<> check_image(const verity::Digest& image);
  Result<std::string> read_object(const verity::Digest& object);

  const boot::BootLoader& loader_;
  UniqueFd esp_;
  DeviceFiles* files_;
  Published published_;
  std::set<verity::Digest> sound_;
};

}  // namespace cfs::power
