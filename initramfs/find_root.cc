// SPDX-License-Identifier: Apache-2.0
#include "initramfs/find_root.h"

#include <sys/mount.h>
#include <time.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "initramfs/compose_root.h"
#include "initramfs/init.h"
#include "initramfs/root_device.h"
#include "initramfs/torn_superblock.h"
#include "initramfs/uevent.h"
#include "lib/base/io.h"
#include "lib/boot/efi_variables.h"
#include "lib/mount/composefs_mount.h"
#include "lib/mount/fs_context.h"

namespace cfs::initramfs {
namespace {

constexpr char kBlockClass[] = "/sys/class/block";
constexpr char kFirmware[] = "/sys/firmware/efi";
constexpr int kLookAgainMs = 100;  // at the latest

double now_seconds() {
  timespec now = {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

/// The partition that the boot loader was started from; "": nobody said.
std::string boot_partition() {
  if (!stat_at(AT_FDCWD, kFirmware, 0)) return "";
  auto read = []() -> Result<std::optional<std::string>> {
    mount::FsContext context = CFS_TRY(mount::FsContext::open("efivarfs"));
    CFS_TRY(context.create());
    UniqueFd variables = CFS_TRY(context.mount(MOUNT_ATTR_RDONLY));
    return boot::booted_partition("/proc/self/fd/" + std::to_string(variables.get()));
  };
  Result<std::optional<std::string>> partition = read();
  if (!partition) log_warning(partition.error().describe());
  return partition && *partition ? **partition : std::string();
}

struct Failure {
  Stage stage;
  Error error;
  UniqueFd mount;  // if it could be mounted
};

Result<UniqueFd> mount_read_only(const BlockDevice& device, ModuleLoader& modules) {
  (void)modules.load_for("fs-" + device.superblock->type);
  std::string doing = "while mounting '" + device.path + "'";
  mount::FsContext context = CFS_TRY_WITH(doing, mount::FsContext::open(device.superblock->type));
  CFS_TRY_WITH(doing, context.set_string("source", device.path));
  CFS_TRY_WITH(doing, context.set_flag("ro"));
  CFS_TRY_WITH(doing, context.create());
  return CFS_TRY_WITH(doing, context.mount(0));
}

Result<> check_pinned_image(int mounted, const verity::Digest& digest) {
  UniqueFd image = CFS_TRY(open_pinned_image(mounted, digest));
  return mount::check_image_digest(image.get(), digest);
}

/// `boot_partition`: see above.
Result<std::vector<BlockDevice>> list_devices(const kernel_cmdline::RootSpec& spec,
                                              const std::string& boot_partition) {
  const bool asks_for_ids =
      !boot_partition.empty() || spec.kind == kernel_cmdline::RootSpec::Kind::kPartUuid;
  return list_block_devices(kBlockClass, "/dev",
                            asks_for_ids ? PartitionIds::kRead : PartitionIds::kSkip);
}

std::set<std::string> disks_with(const std::vector<BlockDevice>& devices,
                                 const std::string& partition) {
  std::set<std::string> disks;
  for (const BlockDevice& device : devices) {
    if (!partition.empty() && device.partition_uuid == partition) disks.insert(device.disk);
  }
  return disks;
}

/// What a power cut may have left of it; on no disk but this machine's.
void mend_superblock_of(const BlockDevice& device) {
  if (device.superblock->type != "ext4") return;
  Result<bool> mended = mend_torn_superblock(device.path);
  if (!mended) log_warning(mended.error().describe());
  if (mended && *mended) {
    log_warning("the checksum of the superblock on '" + device.path + "' was wrong");
  }
}

/// All that was found so far.
class Search {
 public:
  Search(const kernel_cmdline::RootSpec& spec, const verity::Digest& digest,
         std::string boot_partition)
      : spec_(spec), digest_(digest), boot_partition_(std::move(boot_partition)) {}

  Result<> look(ModuleLoader& modules) {
    devices_ = CFS_TRY(list_devices(spec_, boot_partition_));
    const std::set<std::string> boot_disks = disks_with(devices_, boot_partition_);
    // The partitions of a disk appear one after the other: at the next look all are there.
    boot_disk_ = boot_partition_.empty() ? BootDisk::kUnknown
                 : was_boot_disk_here_   ? BootDisk::kHere
                                         : BootDisk::kAwaited;
    was_boot_disk_here_ = !boot_disks.empty();
    for (const BlockDevice& device : devices_) {
      if (!is_meant(spec_, device) || mounts_.contains(device.path) ||
          failures_.contains(device.path)) {
        continue;
      }
      bool is_on_boot_disk = boot_disks.contains(device.disk);
      if (is_on_boot_disk || boot_partition_.empty()) mend_superblock_of(device);
      std::optional<Failure> failure = try_device(device, modules);
      if (!failure) continue;
      if (is_on_boot_disk || first_failed_.empty()) first_failed_ = device.path;
      if (is_on_boot_disk) failed_on_boot_disk_ = true;
      failures_.emplace(device.path, *std::move(failure));
    }
    for (size_t i = 0; i < candidates_.size(); ++i) {
      candidates_[i].is_on_boot_disk = boot_disks.contains(disks_[i]);
    }
    return {};
  }

  Result<std::optional<FoundRoot>> choose(bool is_last_look) {
    std::optional<size_t> chosen = CFS_TRY(choose_candidate(candidates_, boot_disk_, is_last_look));
    if (!chosen) return std::optional<FoundRoot>();
    const Candidate& candidate = candidates_[*chosen];
    if (boot_disk_ != BootDisk::kUnknown && !candidate.is_on_boot_disk) {
      log_warning("the root is on '" + candidate.path +
                  "', which is not on the disk that the firmware booted from");
    }
    return std::optional<FoundRoot>(FoundRoot{candidate.path, std::move(mounts_[candidate.path])});
  }

  /// Why there is nothing to boot. The file system that was meant is at kSysroot then, if it could
  /// be mounted: what went wrong is written down there.
  Error why_not(unsigned seconds, Stage& stage) {
    auto failed = failures_.find(first_failed_);
    if (failed != failures_.end()) {
      stage = failed->second.stage;
      Error error = std::move(failed->second.error);
      bool is_ours = failed_on_boot_disk_ || failures_.size() == 1;
      if (is_ours && failed->second.mount.valid() && make_directories(AT_FDCWD, kSysroot)) {
        // Without it only the record is missing.
        (void)mount::attach(failed->second.mount.get(), kSysroot);
      }
      if (failures_.size() == 1) return error;
      return std::move(error).with("and " + std::to_string(failures_.size() - 1) +
                                   " other file systems that 'root=' fits cannot be booted");
    }
    stage = Stage::kDevice;
    Error error = make_error(ErrorCode::kNotFound,
                             "no ext4 or btrfs file system '" + spec_.value + "' appeared within " +
                                 std::to_string(seconds) +
                                 " s; block devices seen: " + describe_devices(devices_));
    if (devices_.empty()) error.hint = "the initramfs has no driver for this machine's disk";
    return error;
  }

 private:
  /// Mounts the device and looks for the pinned image in it. Nothing: it is a candidate.
  std::optional<Failure> try_device(const BlockDevice& device, ModuleLoader& modules) {
    Result<UniqueFd> mounted = mount_read_only(device, modules);
    if (!mounted) return Failure{Stage::kDevice, std::move(mounted).error(), UniqueFd()};
    Result<> checked = check_pinned_image(mounted->get(), digest_);
    if (!checked) {
      Error error = std::move(checked).error().with("on '" + device.path + "'");
      return Failure{Stage::kImage, std::move(error), *std::move(mounted)};
    }
    mounts_[device.path] = *std::move(mounted);
    candidates_.push_back({.path = device.path});
    disks_.push_back(device.disk);
    return std::nullopt;
  }

  kernel_cmdline::RootSpec spec_;
  verity::Digest digest_;
  std::string boot_partition_;
  BootDisk boot_disk_ = BootDisk::kUnknown;
  bool was_boot_disk_here_ = false;
  std::vector<BlockDevice> devices_;
  std::vector<Candidate> candidates_;
  std::vector<std::string> disks_;  // of candidates_
  std::map<std::string, UniqueFd> mounts_;
  std::map<std::string, Failure> failures_;
  std::string first_failed_;
  bool failed_on_boot_disk_ = false;
};

}  // namespace

Result<std::optional<size_t>> choose_candidate(std::span<const Candidate> candidates,
                                               BootDisk boot_disk, bool is_last_look) {
  bool prefer_boot_disk = std::any_of(candidates.begin(), candidates.end(),
                                      [](const Candidate& c) { return c.is_on_boot_disk; });
  std::optional<size_t> chosen;
  std::string names;
  size_t count = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (prefer_boot_disk && !candidates[i].is_on_boot_disk) continue;
    chosen = i;
    ++count;
    names += (names.empty() ? "'" : ", '") + candidates[i].path + "'";
  }
  if (!prefer_boot_disk && boot_disk == BootDisk::kAwaited && !is_last_look) {
    return std::optional<size_t>();
  }
  if (count > 1) {
    return make_error(ErrorCode::kInvalidInput,
                      "several file systems have the pinned image, and nothing tells which is "
                      "this machine's: " +
                          names)
        .with_hint("remove the others, or name one by root=");
  }
  return chosen;
}

Result<> mend_root_superblock(const kernel_cmdline::BootOptions& options) {
  const kernel_cmdline::RootSpec spec = CFS_TRY(kernel_cmdline::parse_root_spec(options.root));
  const std::string partition = boot_partition();
  const std::vector<BlockDevice> devices = CFS_TRY(list_devices(spec, partition));
  const std::set<std::string> boot_disks = disks_with(devices, partition);
  for (const BlockDevice& device : devices) {
    const bool is_of_this_machine = partition.empty() || boot_disks.contains(device.disk);
    if (is_meant(spec, device) && is_of_this_machine) mend_superblock_of(device);
  }
  return {};
}

Result<FoundRoot> find_root(const kernel_cmdline::BootOptions& options, ModuleLoader& modules,
                            bool more_may_appear, Stage& stage) {
  stage = Stage::kCommandLine;
  kernel_cmdline::RootSpec spec = CFS_TRY(kernel_cmdline::parse_root_spec(options.root));
  stage = Stage::kDevice;
  std::optional<DeviceEvents> events;  // most disks are there at the first look
  if (stat_at(AT_FDCWD, kFirmware, 0)) (void)modules.load_for("fs-efivarfs");
  Search search(spec, options.digest, boot_partition());
  double deadline = now_seconds() + options.root_delay_seconds;
  Drivers drivers = Drivers::kQuick;
  for (;;) {
    bool is_last_look = drivers == Drivers::kAll && now_seconds() >= deadline;
    CFS_TRY(search.look(modules));
    std::optional<FoundRoot> found = CFS_TRY(search.choose(is_last_look));
    if (found) return *std::move(found);
    if (is_last_look) return search.why_not(options.root_delay_seconds, stage);
    if (drivers == Drivers::kQuick && !more_may_appear) {
      drivers = Drivers::kAll;
    } else if (events) {
      events->wait(kLookAgainMs);
    } else {
      events.emplace();  // what appeared before is found by one more look
    }
    more_may_appear = modules.load_for_devices(drivers);
  }
}

}  // namespace cfs::initramfs
