// SPDX-License-Identifier: Apache-2.0
// The second copy of each file that a device has once and cannot do without: `copies/`
// (docs/FORMATS.md, "Device").
//
// A disk loses one of the two: a sector cannot be read any more, a file system check has removed
// the file, it holds zeros. The other one takes its place. What is no loss stays as it is: a file
// of a later version, a symlink.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/base/directory.h"
#include "lib/base/result.h"

namespace cfs::deployer {

/// A file of which there is a copy.
struct Original {
  const char* path;  ///< below `<sysroot>/cfs`
  size_t max_bytes;
  /// Is that its content? kUnsupported: that of a later version, which is no loss.
  Result<> (*check)(const std::string& content);
  bool may_be_missing = false;  ///< then its copy is missing too
};

/// One of the two is lost.
struct Loss {
  std::string path;     ///< below `<sysroot>/cfs`
  std::string problem;  ///< in words
  bool is_copy = false;
  bool is_restored = false;
  std::optional<Error> left = {};  ///< why it was not restored, where that was tried
};

/// The content of the original, or where that is lost of its copy. Errors: if both are lost why,
/// with a hint, kNotFound if there is neither; those that are no loss.
[[nodiscard]] Result<std::string> read_original(const Directory& cfs, const Original& original);

/// What is lost. Nothing is changed. Errors: those that are no loss: kPermission, kInterrupted, kIo
/// (the machine).
[[nodiscard]] Result<std::vector<Loss>> find_losses(const Directory& cfs,
                                                    std::span<const Original> originals);

/// As find_losses(). Writes each original that is lost again from its copy, and makes each copy
/// that is lost or older equal to its original; durable when this returns. What cannot be written
/// is no error: the other one of the two is there.
[[nodiscard]] Result<std::vector<Loss>> restore_losses(const Directory& cfs,
                                                       std::span<const Original> originals);

}  // namespace cfs::deployer
