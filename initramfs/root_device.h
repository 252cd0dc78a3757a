// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "lib/base/bytes.h"
#include "lib/base/result.h"
#include "lib/kernel_cmdline/boot_options.h"

namespace cfs::initramfs {

/// What a block device holds, of the file systems that have fs-verity.
struct Superblock {
  std::string type;  ///< as for mount(2): "ext4", "btrfs"
  std::string label;
  std::string uuid;  ///< lower case, with dashes
};

/// How many bytes from the start of a device identify_superblock() wants.
inline constexpr size_t kIdentifyBytes = 0x11000;

/// Recognises ext4 and btrfs. Safe on any bytes.
/// Spec: Linux Documentation/filesystems/ext4/globals.rst "Super Block"; btrfs-man5, "Superblock".
[[nodiscard]] std::optional<Superblock> identify_superblock(Bytes start_of_device);

/// How many bytes from the start of a disk partition_uuid() wants.
inline constexpr size_t kPartitionTableBytes = 256 << 10;

/// The PARTUUID of partition `number` (from 1) in a GPT or MBR, lower case; "": no such partition.
/// `block_bytes` is the disk's logical block size. Safe on any bytes.
/// Spec: UEFI 2.10, §5.3 "GUID Partition Table"; MBR: as the kernel makes it, disk id and number.
[[nodiscard]] std::string partition_uuid(Bytes start_of_disk, size_t block_bytes, size_t number);

struct RootDevice {
  std::string path;  ///< /dev/vda2
  std::string type;  ///< "ext4"
};

/// Looks at all block devices once. `block_class` and `dev` are /sys/class/block and /dev. nullopt:
/// not there (yet).
[[nodiscard]] Result<std::optional<RootDevice>> find_root_device(
    const kernel_cmdline::RootSpec& spec, const std::string& block_class, const std::string& dev);

/// find_root_device() again and again until it is there. kNotFound after `timeout_seconds`.
[[nodiscard]] Result<RootDevice> wait_for_root_device(const kernel_cmdline::RootSpec& spec,
                                                      unsigned timeout_seconds);

}  // namespace cfs::initramfs
