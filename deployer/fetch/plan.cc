// SPDX-License-Identifier: Apache-2.0
#include "deployer/fetch/plan.h"

#include "lib/base/bytes.h"
#include "lib/base/interrupt.h"
#include "lib/base/progress.h"
#include "lib/verity/merkle.h"

namespace cfs::deployer {

uint64_t disk_usage_bytes(uint64_t size_bytes) {
  constexpr uint64_t kDescriptorBlocks = 1;
  return align_up(size_bytes, verity::kBlockSize) +
         (verity::tree_blocks(size_bytes) + kDescriptorBlocks) * verity::kBlockSize;
}

void Plan::add_uki(const release::ReleaseFile& file) {
  uki = file;
  fetch_bytes += file.size_bytes;
  disk_bytes += align_up(file.size_bytes, verity::kBlockSize);
  ++inodes;
}

Result<Plan> make_plan(const trust::Verified<transport::Manifest>& manifest,
                       const store::ObjectStore& store) {
  Plan plan;
  auto count = [&](const transport::Entry& entry) {
    plan.fetch_bytes += entry.encoded_size_bytes;
    plan.disk_bytes += disk_usage_bytes(entry.size_bytes);
    ++plan.inodes;
  };
  Progress progress("checking what is there", manifest->objects.size(), Progress::Unit::kItems);
  for (const transport::Entry& entry : manifest->objects) {
    CFS_TRY(check_interrupted());
    progress.add(1);
    if (CFS_TRY(store.contains(entry.digest))) continue;
    plan.objects.push_back(entry);
    count(entry);
  }
  if (!CFS_TRY(store.contains(manifest->image.digest))) {
    plan.image = manifest->image;
    count(*plan.image);
  }
  return plan;
}

}  // namespace cfs::deployer
