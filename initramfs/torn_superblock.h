// SPDX-License-Identifier: Apache-2.0
// ext4 writes its superblock in place when it is mounted, and not by way of the journal. That is
// two sectors. If the power goes in between and the disk writes single sectors, one is old and one
// is new, the checksum is wrong, and the kernel does not mount that file system any more. Between
// two mounts nothing but the checksum differs in the second sector: it only has to be made to fit.
// Rot is told from that by what never changes, and lies in the copy of the superblock too.
#pragma once

#include <string>

#include "lib/base/result.h"

namespace cfs::initramfs {

/// Makes the checksum of an ext4 superblock fit, and writes down in it that the file system has
/// errors, so that the checker looks at all of it, on a device that is not mounted. Durable when
/// this returns. Returns false, and changes nothing, if it fits, or there is none; or if the copy
/// of the superblock in the second block group (a file system of less than 128 MiB has none)
/// is of another file system or shape, or damaged. Errors: those of reading and writing.
/// Spec: Linux Documentation/filesystems/ext4/globals.rst, "Super Block"; checksums.rst.
[[nodiscard]] Result<bool> mend_torn_superblock(const std::string& device);

}  // namespace cfs::initramfs
