// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "lib/disk/disk_image.h"

namespace cfs::disk {

/// Makes the root file system of `plan` behind the first `offset_bytes` of the existing disk image
/// `directory`/`name`, which ends there, and extends the file by it. Returns its size, a multiple
/// of 1 MiB. Everything that entries do not say has the time `now_seconds`.
///
/// It has `plan.root_free_bytes` free for everybody, and for root alone as much again as the files
/// take: an update fits when others have filled the disk. After an error in its metadata the kernel
/// mounts it read-only.
/// Errors: kNotFound (mke2fs missing), kNoSpace, kSubprocess, those of Ext4Writer::add().
[[nodiscard]] Result<uint64_t> make_root(const std::string& directory, const std::string& name,
                                         uint64_t offset_bytes, const DiskPlan& plan,
                                         int64_t now_seconds);

}  // namespace cfs::disk
