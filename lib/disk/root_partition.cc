// SPDX-License-Identifier: Apache-2.0
//
// How large must the file system be? What mke2fs takes for itself depends on the size in steps that
// nobody but mke2fs knows for certain: copies of the superblock, inodes rounded up in each group, a
// last group that is too small to be one. So it is asked: an empty file system is made of a guess,
// and made again, larger by what is missing, until it has the room. Only then files are written.
#include "lib/disk/root_partition.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/base/subprocess.h"
#include "lib/disk/derived_id.h"
#include "lib/disk/ext4_layout.h"
#include "lib/disk/ext4_writer.h"
#include "lib/disk/host_program.h"
#include "lib/disk/root_size.h"
#include "lib/sysroot/layout.h"

namespace cfs::disk {
namespace {

constexpr uint64_t kMiB = 1U << 20;
/// A guess is off by less than a hundredth; each round adds all that is missing.
constexpr int kMaxRounds = 8;
/// Named one by one: what a host's mke2fs.conf adds must not change the bytes.
constexpr const char* kExt4Features =
    "none,has_journal,ext_attr,dir_index,filetype,extent,64bit,flex_bg,metadata_csum,sparse_super,"
    "large_file,huge_file,dir_nlink,extra_isize,resize_inode,verity";

Result<> make_empty(const std::string& directory, const std::string& name, uint64_t offset_bytes,
                    const RootSize& size, const std::string& seed, int64_t now_seconds) {
  std::string mke2fs = CFS_TRY(find_program("mke2fs", "e2fsprogs"));
  CFS_TRY(run_command(
      {.arguments = {mke2fs,
                     "-q",
                     "-F",
                     "-b",
                     std::to_string(kBlockBytes),
                     "-I",
                     std::to_string(kInodeBytes),
                     "-N",
                     std::to_string(size.inode_count),
                     "-m",
                     "0",
                     "-e",
                     "remount-ro",
                     "-J",
                     fmt::format("size={}", size.journal_bytes / kMiB),
                     "-O",
                     kExt4Features,
                     "-L",
                     sysroot::kFileSystemLabel,
                     "-U",
                     derived_uuid(seed, "root"),
                     "-E",
                     fmt::format("offset={},nodiscard,lazy_itable_init=0,lazy_journal_init=1,"
                                 "root_owner=0:0,hash_seed={}",
                                 offset_bytes, derived_uuid(seed, "hash")),
                     name,
                     fmt::format("{}k", size.size_bytes / 1024)},
       .environment = {"MKE2FS_CONFIG=/dev/null",
                       fmt::format("E2FSPROGS_FAKE_TIME={}", now_seconds)},
       .working_directory = directory}));
  return {};
}

/// Cuts the file off at `offset_bytes` and extends it by zeros.
Result<> set_empty_size(const std::string& path, uint64_t offset_bytes, uint64_t size_bytes) {
  UniqueFd file = CFS_TRY(open_at(AT_FDCWD, path, O_WRONLY));
  for (uint64_t end : {offset_bytes, offset_bytes + size_bytes}) {
    if (::ftruncate(file.get(), static_cast<off_t>(end)) != 0) {
      return errno_error("cannot make a file of " + std::to_string(end) + " bytes");
    }
  }
  return {};
}

}  // namespace

Result<uint64_t> make_root(const std::string& directory, const std::string& name,
                           uint64_t offset_bytes, const DiskPlan& plan, int64_t now_seconds) {
  const std::string path = directory + "/" + name;
  const RootNeed need = CFS_TRY(root_need(plan.root_entries));
  RootSize size = guess_root_size(need, plan.root_free_bytes);
  for (int round = 0;; ++round) {
    CFS_TRY(check_interrupted());
    CFS_TRY(set_empty_size(path, offset_bytes, size.size_bytes));
    CFS_TRY(make_empty(directory, name, offset_bytes, size, plan.seed, now_seconds));
    Ext4Writer writer = CFS_TRY(Ext4Writer::open(path, offset_bytes, now_seconds));
    const uint64_t reserved_bytes = std::min(reserved_for_root_bytes(need), size.size_bytes / 2);
    const uint64_t wanted_bytes =
        need.bytes + plan.root_free_bytes + reserved_bytes + kernel_reserve_bytes(size.size_bytes);
    if (writer.free_bytes() < wanted_bytes) {
      if (round == kMaxRounds) {
        return make_error(ErrorCode::kInternal, "cannot find the size of the root file system");
      }
      size.size_bytes += align_up(wanted_bytes - writer.free_bytes(), kMiB);
      continue;
    }
    writer.reserve_for_root(reserved_bytes);
    for (const RootEntry& entry : plan.root_entries) {
      CFS_TRY(check_interrupted());
      CFS_TRY(writer.add(entry, plan.on_progress));
    }
    if (writer.free_bytes() < wanted_bytes - need.bytes) {
      return make_error(ErrorCode::kInternal,
                        fmt::format("the root file system came out {} bytes too small",
                                    wanted_bytes - need.bytes - writer.free_bytes()));
    }
    CFS_TRY(writer.close());
    return size.size_bytes;
  }
}

}  // namespace cfs::disk
