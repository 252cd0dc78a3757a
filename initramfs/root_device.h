// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/bytes.h"
#include "lib/base/result.h"
#include "lib/kernel_cmdline/boot_options.h"

namespace cfs::initramfs {

/// What a block device holds, of the file systems that have fs-verity.
struct Superblock {
  std::string type;  ///< as for mount(2): "ext4", "btrfs"
  std::string label;
  std::string uuid;  ///< lower case, with dashes
  /// ext4: the kernel found errors in it, or it was not left clean. A journal that is still to be
  /// replayed, as after a power cut, does not count.
  bool needs_check = false;
};

/// How many bytes from the start of a device identify_superblock() wants.
inline constexpr size_t kIdentifyBytes = 0x11000;

/// Recognises ext4 and btrfs. Safe on any bytes.
/// Spec: Linux Documentation/filesystems/ext4/globals.rst "Super Block"; btrfs-man5, "Superblock".
[[nodiscard]] std::optional<Superblock> identify_superblock(Bytes start_of_device);

/// What `path`, a block device, holds. Nullopt: nothing that can be read or that we know.
[[nodiscard]] std::optional<Superblock> read_superblock(const std::string& path);

/// How many bytes from the start of a disk partition_uuid() wants.
inline constexpr size_t kPartitionTableBytes = 64 << 10;

/// The PARTUUID of partition `number` (from 1) in a GPT or MBR, lower case; "": no such partition.
/// `block_bytes` is the disk's logical block size. Safe on any bytes.
/// Spec: UEFI 2.10, §5.3 "GUID Partition Table"; MBR: as the kernel makes it, disk id and number.
[[nodiscard]] std::string partition_uuid(Bytes start_of_disk, size_t block_bytes, size_t number);

/// A disk or partition that holds something.
struct BlockDevice {
  std::string path;             ///< /dev/vda2
  std::string disk;             ///< name of the disk that it is or is part of: "vda"
  std::string partition_label;  ///< "": none, or not a partition
  std::string partition_uuid;   ///< lower case; "": none, or not read
  std::optional<Superblock> superblock;
};

/// Whether the disks' partition tables are read for the ids of partitions.
enum class PartitionIds { kRead, kSkip };

/// Looks at all block devices once. `block_class` and `dev` are /sys/class/block and /dev. Devices
/// without a medium are left out.
[[nodiscard]] Result<std::vector<BlockDevice>> list_block_devices(const std::string& block_class,
                                                                  const std::string& dev,
                                                                  PartitionIds partition_ids);

/// Returns true if `root=` means this device. It never means one without a file system that we
/// know.
[[nodiscard]] bool is_meant(const kernel_cmdline::RootSpec& spec, const BlockDevice& device);

/// "/dev/sda, /dev/sda1 (ext4 'data')", or "none".
[[nodiscard]] std::string describe_devices(const std::vector<BlockDevice>& devices);

}  // namespace cfs::initramfs
