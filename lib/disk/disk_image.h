// SPDX-License-Identifier: Apache-2.0
// Bootable disk images, made offline by an ordinary user on a host that needs no fs-verity.
//
//   offset  0        1 MiB                  + esp_size_bytes          + root        + 1 MiB
//           ┌────────┬──────────────────────┬─────────────────────────┬─────────────┐
//           │ GPT    │ ESP, FAT32           │ root, ext4 with verity  │ backup GPT  │
//           │        │ "cfs-esp"            │ "cfs"                   │             │
//           └────────┴──────────────────────┴─────────────────────────┴─────────────┘
//
// Same plan, same bytes: all identifiers come from `DiskPlan::seed`, all times from
// `source_date_epoch` and the plan.
#pragma once

#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "lib/base/result.h"
#include "lib/disk/root_entry.h"

namespace cfs::disk {

/// A file of the ESP. Missing directories are made.
struct EspFile {
  std::string path;  ///< relative: "EFI/Linux/x.efi"
  Content content;
};

struct DiskPlan {
  std::string seed;  ///< any text: the image digest. Two disks of one seed have the same UUIDs
  int64_t source_date_epoch = 0;
  std::vector<EspFile> esp_files;
  std::vector<RootEntry> root_entries;
  uint64_t esp_size_bytes = 512U << 20;  ///< at least 64 MiB; sparse
  /// As `df` will say, or more; sparse. Besides that root alone has room for one more release.
  uint64_t root_free_bytes = 1024ULL << 20U;
  /// Called with the bytes written since the last call. May be empty.
  std::function<void(uint64_t)> on_progress;
};

/// Bytes that on_progress will have been told of in the end: the total for a progress line.
[[nodiscard]] Result<uint64_t> content_bytes(const DiskPlan& plan);

/// What a disk image will take, at most, on the disk that it is written to: `content_bytes` on the
/// root file system and `esp_bytes` on the ESP. Known before there is a plan.
[[nodiscard]] uint64_t occupied_bytes(uint64_t content_bytes, uint64_t esp_bytes,
                                      uint64_t root_free_bytes);

/// The most that `root_free_bytes` can be.
constexpr uint64_t kMaxRootFreeBytes = 1ULL << 40U;

/// Makes the disk image `path`, which must not exist. It has that name when it is whole; until then
/// it is `.cfs-disk-<16 hex>` beside it, which is removed after a failure, but stays when the
/// process is killed: call it for a path in a WorkDirectory. The file is sparse, and synced; its
/// directory is not.
///
/// Runs sfdisk, mkfs.vfat, mtools and mke2fs. Errors: kExists; kNotFound (a program is missing: the
/// hint names the Debian package; a host file is missing), kDigestMismatch (a file is not what its
/// verity digest says), kInvalidInput (plan), kNoSpace, kInterrupted.
[[nodiscard]] Result<> make_disk(const DiskPlan& plan, const std::string& path);

/// Succeeds if the programs that make_disk() runs are installed. Errors: kNotFound; the hint names
/// the Debian package.
[[nodiscard]] Result<> check_programs();

}  // namespace cfs::disk
