// SPDX-License-Identifier: Apache-2.0
#include "deployer/fetch/plan.h"

#include <sys/statvfs.h>

#include "lib/base/bytes.h"
#include "lib/base/interrupt.h"
#include "lib/base/progress.h"
#include "lib/verity/merkle.h"

namespace cfs::deployer {
namespace {

// Directories, journal, metadata documents: what the exact sums leave out.
constexpr uint64_t kMarginBytes = 4 << 20;
constexpr uint64_t kMarginInodes = 512;

}  // namespace

uint64_t disk_usage_bytes(uint64_t size_bytes) {
  uint64_t blocks = align_up(size_bytes, verity::kBlockSize) / verity::kBlockSize;
  uint64_t total = blocks + 1;
  while (blocks > 1) {
    blocks = (blocks + verity::kHashesPerBlock - 1) / verity::kHashesPerBlock;
    total += blocks;
  }
  return total * verity::kBlockSize;
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

Result<> check_space(int dir_fd, std::string_view what, uint64_t bytes, uint64_t inodes) {
  struct statvfs status = {};
  if (::fstatvfs(dir_fd, &status) != 0) return errno_error("cannot ask for free space");
  uint64_t free_bytes = uint64_t{status.f_bavail} * status.f_frsize;
  uint64_t needed = bytes + kMarginBytes;
  if (free_bytes < needed) {
    return make_error(ErrorCode::kNoSpace, std::string(what) + " needs " + format_bytes(needed) +
                                               " free and has " + format_bytes(free_bytes))
        .with_hint("free " + format_bytes(needed - free_bytes) + " or more and try again");
  }
  // File systems that make inodes as they need them report none at all.
  if (status.f_files > 0 && status.f_favail < inodes + kMarginInodes) {
    return make_error(ErrorCode::kNoSpace,
                      std::string(what) + " needs " + std::to_string(inodes + kMarginInodes) +
                          " free inodes and has " + std::to_string(status.f_favail))
        .with_hint("remove files and try again");
  }
  return {};
}

}  // namespace cfs::deployer
