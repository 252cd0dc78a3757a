// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "lib/disk/disk_image.h"

namespace cfs::disk {

/// Where a partition lies in the disk image. Both multiples of 1 MiB.
struct Extent {
  uint64_t offset_bytes = 0;
  uint64_t size_bytes = 0;
};

/// Makes a FAT32 file system called `cfs-esp` with `files` in the extent of the existing disk image
/// `directory`/`name`, which reads as zeros there.
/// Errors: kNotFound (mkfs.vfat or mtools missing), kNoSpace, kInvalidInput (a path that FAT or
/// mtools would take for something else), kSubprocess.
[[nodiscard]] Result<> make_esp(const std::string& directory, const std::string& name,
                                const Extent& extent, uint32_t volume_id, int64_t source_date_epoch,
                                std::span<const EspFile> files);

}  // namespace cfs::disk
