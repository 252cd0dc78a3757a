// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lib/base/directory.h"
#include "lib/base/result.h"
#include "lib/verity/digest.h"

namespace cfs::deployer {

/// What a delivery did.
struct VarDelivery {
  size_t added = 0;
  size_t replaced = 0;
  size_t removed = 0;
  /// Files that the release ships otherwise than the device has them, relative to /var.
  std::vector<std::string> kept;
  /// Why the record of earlier deliveries could not be used. What is as the release ships it is
  /// known again now, and all else is taken for the device's own.
  std::optional<Error> damage;
};

/// Brings what the release that runs ships for /var, `release_root`/usr/share/factory/var, into
/// `state/var` by the policies in its var.conf. Does nothing when this was the last image to be
/// delivered, or when it ships nothing at all. A power cut at any instant, and whichever release
/// boots then: what the device has changed is still told from what it has not, and the next call
/// ends as if nothing had happened. Needs root where the image has other owners.
/// `cfs`: Sysroot::directory() of one that was opened for writing.
/// Errors: kNoSpace (checked first); kCorrupt (var.conf); those of the file system.
[[nodiscard]] Result<VarDelivery> deliver_var(const Directory& cfs, const std::string& release_root,
                                              const verity::Digest& image);

}  // namespace cfs::deployer
