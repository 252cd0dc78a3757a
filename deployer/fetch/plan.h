// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "lib/release/description.h"
#include "lib/store/object_store.h"
#include "lib/transport/manifest.h"
#include "lib/trust/verified.h"

namespace cfs::deployer {

/// What an update has to do, known exactly before the first byte of it is fetched.
struct Plan {
  std::vector<transport::Entry> objects;    ///< missing in the store, without the image
  std::optional<transport::Entry> image;    ///< missing
  std::optional<release::ReleaseFile> uki;  ///< missing
  uint64_t fetch_bytes = 0;                 ///< encoded
  uint64_t disk_bytes = 0;                  ///< on the store's file system, verity included
  uint64_t inodes = 0;

  /// Says that the UKI is missing.
  void add_uki(const release::ReleaseFile& file);
  [[nodiscard]] size_t files() const { return objects.size() + (image ? 1 : 0) + (uki ? 1 : 0); }
};

/// Looks which objects of a release are not in the store, or are there and damaged.
[[nodiscard]] Result<Plan> make_plan(const trust::Verified<transport::Manifest>& manifest,
                                     const store::ObjectStore& store);

/// What a file takes on ext4 with 4 KiB blocks and fs-verity: its blocks, the Merkle tree behind
/// them and one block for the descriptor. Spec: Linux fsverity.rst, "ext4".
[[nodiscard]] uint64_t disk_usage_bytes(uint64_t size_bytes);

/// What must be free besides a plan's exact sums: for directories, the journal, metadata documents.
constexpr uint64_t kMarginBytes = 4 << 20;
constexpr uint64_t kMarginInodes = 512;

}  // namespace cfs::deployer
