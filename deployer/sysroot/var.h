// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "deployer/sysroot/sysroot.h"
#include "lib/disk/root_entry.h"

namespace cfs::deployer {

/// Fills `state/var` once with the image's /var: contents, owners, modes, times, xattrs, hard
/// links. Does nothing when it is there. It appears whole and durable or not at all. Needs root
/// where the image has other owners. Errors: kNoSpace (checked first), kPermission.
[[nodiscard]] Result<> fill_var(Sysroot& sysroot, const verity::Digest& image);

/// The same as entries of a disk image, below `as`; contents are taken from the sysroot's objects.
[[nodiscard]] Result<std::vector<disk::RootEntry>> var_entries(Sysroot& sysroot,
                                                               const verity::Digest& image,
                                                               const std::string& as);

}  // namespace cfs::deployer
