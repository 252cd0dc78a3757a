// SPDX-License-Identifier: Apache-2.0
// The lines of the kernel's log by which it says that an object is damaged.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace cfs::deployer {

/// fs-verity has read a block that is not what the file's digest says, or cannot read the digest.
struct DamagedInode {
  std::string device;  ///< the kernel's name of the file system: "vda2"
  uint64_t inode = 0;
  auto operator<=>(const DamagedInode&) const = default;
};

/// overlayfs has opened a lower file with another digest than the image says, or with none.
struct DamagedFile {
  std::string name;  ///< the last component of its path
  auto operator<=>(const DamagedFile&) const = default;
};

/// overlayfs has not found the content of a file.
struct MissingContent {
  std::string path_end;  ///< the last two components of the file's path, or its only one
  auto operator<=>(const MissingContent&) const = default;
};

using Complaint = std::variant<DamagedInode, DamagedFile, MissingContent>;

/// The complaint in a record of /dev/kmsg ("3,512,1234567,-;fs-verity (vda2, inode 12): FILE
/// CORRUPTED! …"); nothing in any other one, and in those that programs have written there.
/// Trust: input may be anything. Spec: Documentation/ABI/testing/dev-kmsg, fs/verity, fs/overlayfs.
[[nodiscard]] std::optional<Complaint> parse_complaint(std::string_view record);

}  // namespace cfs::deployer
