// SPDX-License-Identifier: Apache-2.0
// ext4 writes its superblock in place when it is mounted, and not by way of the journal. That is
// two sectors. If the power goes in between and the disk writes single sectors, one is old and one
// is new, the checksum is wrong, and the kernel does not mount that file system any more. Between
// two mounts nothing but the checksum differs in the second sector: it only has to be made to fit.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "initramfs/ext4_superblock.h"
#include "lib/base/result.h"

namespace cfs::initramfs {

/// Makes the checksum of an ext4 superblock fit, and writes down in it that the file system has
/// errors, so that the checker looks at all of it. Returns false, and changes nothing, if it fits,
/// or there is none. Spec: Linux Documentation/filesystems/ext4/globals.rst, "Super Block";
/// checksums.rst.
[[nodiscard]] bool mend_superblock(std::span<std::byte, kExtSuperblockBytes> superblock);

/// The same on a device that is not mounted. Durable when this returns.
/// Errors: those of reading and writing.
[[nodiscard]] Result<bool> mend_torn_superblock(const std::string& device);

}  // namespace cfs::initramfs
