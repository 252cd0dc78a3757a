// SPDX-License-Identifier: Apache-2.0
#include "lib/disk/disk_image.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <random>

#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/base/progress.h"
#include "lib/base/subprocess.h"
#include "lib/disk/content.h"
#include "lib/disk/esp_partition.h"
#include "lib/disk/ext4_layout.h"
#include "lib/disk/ext4_writer.h"
#include "lib/disk/host_program.h"
#include "lib/disk/root_size.h"
#include "lib/verity/merkle.h"

namespace cfs::disk {
namespace {

constexpr uint64_t kMiB = 1U << 20;
constexpr uint64_t kSectorBytes = 512;
constexpr uint64_t kMinEspBytes = 64 * kMiB;
// Spec: UEFI 2.10 §5.3.3; UAPI Group, "Discoverable Partitions Specification".
constexpr std::string_view kEspType = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
constexpr std::string_view kRootX86_64Type = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709";
/// Named one by one: what a host's mke2fs.conf adds must not change the bytes.
constexpr const char* kExt4Features =
    "none,has_journal,ext_attr,dir_index,filetype,extent,64bit,flex_bg,metadata_csum,sparse_super,"
    "large_file,huge_file,dir_nlink,extra_isize,resize_inode,verity";

verity::Sha256Digest derive(std::string_view seed, std::string_view purpose) {
  return verity::sha256(as_bytes(fmt::format("cfs disk {}\n{}", purpose, seed)));
}

/// A UUID of version 8, which is for such private schemes. Spec: RFC 9562 §5.8.
std::string uuid_of(std::string_view seed, std::string_view purpose) {
  verity::Sha256Digest digest = derive(seed, purpose);
  std::span<std::byte, 32> bytes = digest.mutable_bytes();
  bytes[6] = (bytes[6] & std::byte{0x0f}) | std::byte{0x80};
  bytes[8] = (bytes[8] & std::byte{0x3f}) | std::byte{0x80};
  std::string hex = digest.hex();
  return fmt::format("{}-{}-{}-{}-{}", hex.substr(0, 8), hex.substr(8, 4), hex.substr(12, 4),
                     hex.substr(16, 4), hex.substr(20, 12));
}

struct Layout {
  Extent esp;
  Extent root;
  uint64_t size_bytes = 0;
};

/// The file, made under a name of ours in `directory`, so that programs need no path with
/// characters that mean something to them.
struct Target {
  std::string directory;
  std::string name;
  [[nodiscard]] std::string path() const { return directory + "/" + name; }
};

Result<> partition(const Target& target, const Layout& layout, const std::string& seed) {
  std::string sfdisk = CFS_TRY(find_program("sfdisk", "fdisk"));
  auto line = [&](const Extent& extent, std::string_view type, std::string_view name) {
    return fmt::format("start={}, size={}, type={}, uuid={}, name=\"{}\"\n",
                       extent.offset_bytes / kSectorBytes, extent.size_bytes / kSectorBytes, type,
                       uuid_of(seed, fmt::format("partition {}", name)), name);
  };
  std::string script = fmt::format("label: gpt\nlabel-id: {}\nunit: sectors\nsector-size: {}\n",
                                   uuid_of(seed, "table"), kSectorBytes) +
                       line(layout.esp, kEspType, "cfs-esp") +
                       line(layout.root, kRootX86_64Type, "cfs");
  UniqueFd input(::memfd_create("sfdisk", MFD_CLOEXEC));
  if (!input.valid()) return errno_error("cannot create a buffer");
  CFS_TRY(pwrite_full(input.get(), as_bytes(script), 0));
  CFS_TRY(run_command({.arguments = {sfdisk, "--quiet", "--no-reread", "--no-tell-kernel", "--wipe",
                                     "never", target.name},
                       .working_directory = target.directory,
                       .stdin_fd = input.get()}));
  return {};
}

Result<> make_root(const Target& target, const Extent& extent, const RootSize& size,
                   const DiskPlan& plan, int64_t now_seconds) {
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
                     "-J",
                     fmt::format("size={}", size.journal_bytes / kMiB),
                     "-O",
                     kExt4Features,
                     "-L",
                     "cfs",
                     "-U",
                     uuid_of(plan.seed, "root"),
                     "-E",
                     fmt::format("offset={},nodiscard,lazy_itable_init=0,lazy_journal_init=1,"
                                 "root_owner=0:0,hash_seed={}",
                                 extent.offset_bytes, uuid_of(plan.seed, "hash")),
                     target.name,
                     fmt::format("{}k", extent.size_bytes / 1024)},
       .environment = {"MKE2FS_CONFIG=/dev/null",
                       fmt::format("E2FSPROGS_FAKE_TIME={}", now_seconds)},
       .working_directory = target.directory}));

  Ext4Writer writer = CFS_TRY(Ext4Writer::open(target.path(), extent.offset_bytes, now_seconds));
  for (const RootEntry& entry : plan.root_entries) {
    CFS_TRY(check_interrupted());
    CFS_TRY(writer.add(entry, plan.on_progress));
  }
  uint64_t wanted_bytes = plan.root_free_bytes + kernel_reserve_bytes(extent.size_bytes);
  if (writer.free_bytes() < wanted_bytes) {
    return make_error(ErrorCode::kInternal,
                      fmt::format("the root file system came out {} bytes too small",
                                  wanted_bytes - writer.free_bytes()));
  }
  return writer.close();
}

/// What runs out in the middle of another program's work would be that program's failure.
Result<> check_room(const Target& target, const DiskPlan& plan, const RootSize& root_size) {
  // The journal is written; inode tables, bitmaps and trees take less than a fortieth.
  uint64_t needed_bytes =
      CFS_TRY(content_bytes(plan)) + root_size.journal_bytes + root_size.size_bytes / 40;
  for (const EspFile& file : plan.esp_files) needed_bytes += CFS_TRY(size_of(file.content));
  struct statvfs space = {};
  if (::statvfs(target.directory.c_str(), &space) != 0) {
    return errno_error("cannot look at '" + target.directory + "'");
  }
  uint64_t free_bytes = uint64_t{space.f_bavail} * space.f_frsize;
  if (free_bytes >= needed_bytes) return {};
  return make_error(
      ErrorCode::kNoSpace,
      fmt::format("the disk image takes up to {} in '{}', where {} are free",
                  format_bytes(needed_bytes), target.directory, format_bytes(free_bytes)));
}

Result<> fill(const Target& target, const DiskPlan& plan) {
  RootSize root_size = CFS_TRY(size_root(plan.root_entries, plan.root_free_bytes));
  CFS_TRY(check_room(target, plan, root_size));
  Layout layout;
  layout.esp = {.offset_bytes = kMiB, .size_bytes = align_up(plan.esp_size_bytes, kMiB)};
  layout.root = {.offset_bytes = layout.esp.offset_bytes + layout.esp.size_bytes,
                 .size_bytes = root_size.size_bytes};
  layout.size_bytes = layout.root.offset_bytes + layout.root.size_bytes + kMiB;
  // 0 stands for "now" in libext2fs.
  int64_t now_seconds = std::max<int64_t>(1, plan.source_date_epoch);

  UniqueFd file =
      CFS_TRY(open_at(AT_FDCWD, target.path(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0666));
  if (::ftruncate(file.get(), static_cast<off_t>(layout.size_bytes)) != 0) {
    return errno_error("cannot make a file of " + std::to_string(layout.size_bytes) + " bytes");
  }
  CFS_TRY(partition(target, layout, plan.seed));
  uint32_t volume_id = 0;
  std::memcpy(&volume_id, derive(plan.seed, "volume").bytes().data(), sizeof(volume_id));
  CFS_TRY(make_esp(target.directory, target.name, layout.esp, volume_id, plan.source_date_epoch,
                   plan.esp_files));
  CFS_TRY(make_root(target, layout.root, root_size, plan, now_seconds));
  return fsync_fd(file.get());
}

}  // namespace

Result<uint64_t> content_bytes(const DiskPlan& plan) {
  uint64_t total = 0;
  for (const RootEntry& entry : plan.root_entries) {
    if (S_ISREG(entry.mode) && entry.link_to.empty()) total += CFS_TRY(size_of(entry.content));
  }
  return total;
}

Result<> make_disk(const DiskPlan& plan, const std::string& path) {
  if (plan.esp_size_bytes < kMinEspBytes) {
    return make_error(ErrorCode::kInvalidInput, "an ESP has at least 64 MiB");
  }
  if (plan.root_free_bytes > kMaxRootFreeBytes) {
    return make_error(ErrorCode::kInvalidInput,
                      fmt::format("the root file system can have {} bytes free at most, not {}",
                                  kMaxRootFreeBytes, plan.root_free_bytes));
  }
  if (stat_at(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW)) {
    return errno_error("cannot make '" + path + "'", EEXIST);
  }
  size_t slash = path.find_last_of('/');
  std::random_device random;
  Target target{
      .directory = slash == std::string::npos ? "." : path.substr(0, std::max<size_t>(slash, 1)),
      .name = fmt::format(".cfs-disk-{:08x}{:08x}", random(), random())};
  auto make = [&]() -> Result<> {
    CFS_TRY(fill(target, plan));
    return rename_at(AT_FDCWD, target.path(), AT_FDCWD, path);
  };
  Result<> made = make();
  if (!made) (void)remove_file(AT_FDCWD, target.path());
  return made;
}

Result<> check_programs() {
  for (const auto& [program, package] : {std::pair{"sfdisk", "fdisk"},
                                         {"mkfs.vfat", "dosfstools"},
                                         {"mmd", "mtools"},
                                         {"mcopy", "mtools"},
                                         {"mke2fs", "e2fsprogs"}}) {
    CFS_TRY(find_program(program, package));
  }
  return {};
}

}  // namespace cfs::disk
