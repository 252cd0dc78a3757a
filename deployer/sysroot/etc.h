// SPDX-License-Identifier: Apache-2.0
// What a device keeps of its /etc, as far as cfs-deploy has to do with it: cfs-mount-root makes it
// ready at boot (initramfs/etc.h).
#pragma once

#include <set>
#include <string>
#include <vector>

#include "deployer/sysroot/sysroot.h"
#include "lib/store/sweep.h"

namespace cfs::deployer {

// While it is not known which /etc was used last, the first two remove nothing.

/// Forgets the /etc of an earlier time that a release with this image had here, unless it is the
/// one that was used last: when the release boots, it begins with that of what ran before it.
/// Called before it is made bootable by an update.
[[nodiscard]] Result<> forget_etc(Sysroot& sysroot, const verity::Digest& image);

/// Removes the /etc of releases whose image is none of `installed`, except the one that was used
/// last, or only counts. Returns the bytes that this frees on the disk.
[[nodiscard]] Result<uint64_t> remove_unneeded_etc(Sysroot& sysroot,
                                                   const std::set<verity::Digest>& installed,
                                                   store::Removal removal);

/// Of the /etc that was used last: the paths below /etc at which the release has something else
/// than the device, which keeps its own (mode merge). Sorted; for people: what is not printable
/// ASCII is '?'. Errors: kPermission.
[[nodiscard]] Result<std::vector<std::string>> etc_conflicts(const Sysroot& sysroot);

}  // namespace cfs::deployer
