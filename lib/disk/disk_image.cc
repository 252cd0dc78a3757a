// SPDX-License-Identifier: Apache-2.0
#include "lib/disk/disk_image.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "lib/base/free_space.h"
#include "lib/base/io.h"
#include "lib/base/random_name.h"
#include "lib/base/relative_path.h"
#include "lib/base/subprocess.h"
#include "lib/disk/content.h"
#include "lib/disk/derived_id.h"
#include "lib/disk/esp_partition.h"
#include "lib/disk/host_program.h"
#include "lib/disk/root_partition.h"
#include "lib/disk/root_size.h"
#include "lib/sysroot/layout.h"

namespace cfs::disk {
namespace {

constexpr uint64_t kMiB = 1U << 20;
constexpr uint64_t kSectorBytes = 512;
constexpr uint64_t kMinEspBytes = 64 * kMiB;
// Spec: UEFI 2.10 §5.3.3; UAPI Group, "Discoverable Partitions Specification".
constexpr std::string_view kEspType = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
constexpr std::string_view kRootX86_64Type = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709";

struct Layout {
  Extent esp;
  Extent root;
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
                       derived_uuid(seed, fmt::format("partition {}", name)), name);
  };
  std::string script = fmt::format("label: gpt\nlabel-id: {}\nunit: sectors\nsector-size: {}\n",
                                   derived_uuid(seed, "table"), kSectorBytes) +
                       line(layout.esp, kEspType, sysroot::kEspLabel) +
                       line(layout.root, kRootX86_64Type, sysroot::kFileSystemLabel);
  UniqueFd input(::memfd_create("sfdisk", MFD_CLOEXEC));
  if (!input.valid()) return errno_error("cannot create a buffer");
  CFS_TRY(pwrite_full(input.get(), as_bytes(script), 0));
  CFS_TRY(run_command({.arguments = {sfdisk, "--quiet", "--no-reread", "--no-tell-kernel", "--wipe",
                                     "never", target.name},
                       .working_directory = target.directory,
                       .stdin_fd = input.get()}));
  return {};
}

/// Looks before the work begins: space that runs out in the middle of another program's work would
/// be that program's failure.
Result<> check_room(const Target& target, const DiskPlan& plan) {
  uint64_t esp_bytes = 0;
  for (const EspFile& file : plan.esp_files) esp_bytes += CFS_TRY(size_of(file.content));
  uint64_t needed_bytes =
      occupied_bytes(CFS_TRY(content_bytes(plan)), esp_bytes, plan.root_free_bytes);
  UniqueFd directory = CFS_TRY(open_at(AT_FDCWD, target.directory, O_PATH | O_DIRECTORY));
  return require_space(directory.get(), "the file system of '" + target.directory + "'",
                       needed_bytes);
}

Result<> fill(const Target& target, const DiskPlan& plan) {
  CFS_TRY(check_room(target, plan));
  Layout layout;
  layout.esp = {.offset_bytes = kMiB, .size_bytes = align_up(plan.esp_size_bytes, kMiB)};
  layout.root.offset_bytes = layout.esp.offset_bytes + layout.esp.size_bytes;
  // 0 stands for "now" in libext2fs.
  int64_t now_seconds = std::max<int64_t>(1, plan.source_date_epoch);

  UniqueFd file =
      CFS_TRY(open_at(AT_FDCWD, target.path(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0666));
  layout.root.size_bytes = CFS_TRY(
      make_root(target.directory, target.name, layout.root.offset_bytes, plan, now_seconds));
  const uint64_t size_bytes = layout.root.offset_bytes + layout.root.size_bytes + kMiB;
  if (::ftruncate(file.get(), static_cast<off_t>(size_bytes)) != 0) {
    return errno_error("cannot make a file of " + std::to_string(size_bytes) + " bytes");
  }
  CFS_TRY(partition(target, layout, plan.seed));
  CFS_TRY(make_esp(target.directory, target.name, layout.esp, derived_number(plan.seed, "volume"),
                   plan.source_date_epoch, plan.esp_files));
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

uint64_t occupied_bytes(uint64_t content_bytes, uint64_t esp_bytes, uint64_t root_free_bytes) {
  const RootNeed need{.bytes = content_bytes + content_bytes / 8, .inodes = 0};
  const RootSize size = guess_root_size(need, root_free_bytes);
  // The journal is written; inode tables, bitmaps and trees take less than a fortieth.
  return content_bytes + esp_bytes + size.journal_bytes + size.size_bytes / 40;
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
  Target target{.directory = split_path(path).directory, .name = ".cfs-disk-" + random_name()};
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
