// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "lib/base/result.h"

namespace cfs::initramfs {

/// Brings the changes that were made on the device to the /etc of a new release. `base`: the old
/// release's own /etc; `local`: that with the device's changes; `target`: the new release's own,
/// into which they are brought. All are directories, of which `base` and `local` stay as they are.
/// `base_fd` -1: it is lost. All that is in `local` then counts as added by the device.
///
/// What the device did not change is the new release's. What it changed, added or removed is the
/// device's; where the new release changed the same, or added another of that name, its own is put
/// beside as NAME.cfs-new (sysroot::kTheirsSuffix). What `keep` keeps is left out. Files are
/// compared whole, with owner, mode and extended attributes. Errors: those of the file system;
/// `target` is worth nothing then.
[[nodiscard]] Result<> merge_etc(int base_fd, int local_fd, int target_fd,
                                 const std::vector<std::string>& keep);

}  // namespace cfs::initramfs
