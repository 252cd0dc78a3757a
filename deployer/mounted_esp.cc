// SPDX-License-Identifier: Apache-2.0
//
// Which ESP is the right one. A machine may have several: a second disk, a stick that somebody has
// put in. A boot entry on another one than the firmware reads would never boot, and the device
// would stay what it is. The boot loader knows where it was started from and says so by the
// partition's UUID; a name that anybody can give a partition counts only where there is no such
// word and no second one.
#include "deployer/mounted_esp.h"

#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <optional>
#include <thread>

#include "deployer/esp_check.h"
#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/boot/efi_variables.h"
#include "lib/mount/fs_context.h"
#include "lib/sysroot/layout.h"

namespace cfs::deployer {
namespace {

constexpr const char* kUsualPlaces[] = {"/efi", "/boot", "/boot/efi"};
constexpr size_t kMaxUeventBytes = 4096;
/// How long a partition is waited for that somebody else has mounted in another way, or checks.
constexpr std::chrono::seconds kReaderWait{5};
constexpr std::chrono::seconds kWriterWait{60};

/// Calls `attempt` until it returns true, for about `limit`. Returns what it returned last.
Result<bool> repeat_until(std::chrono::milliseconds limit, const std::function<bool()>& attempt) {
  constexpr std::chrono::milliseconds kPause{100};
  for (std::chrono::milliseconds waited{0};; waited += kPause) {
    if (attempt()) return true;
    if (waited >= limit) return false;
    CFS_TRY(check_interrupted());
    std::this_thread::sleep_for(kPause);
  }
}

/// The file system that is mounted on `path`, if that is a FAT one. Looking makes an automount
/// happen. A directory inside one does not count: where the partition is mounted on /boot,
/// /boot/efi is its folder EFI.
std::optional<dev_t> mounted_fat(const std::string& path) {
  struct statfs file_system = {};
  struct stat here = {};
  struct stat above = {};
  bool is_fat = ::statfs(path.c_str(), &file_system) == 0 &&
                file_system.f_type == MSDOS_SUPER_MAGIC && ::stat(path.c_str(), &here) == 0 &&
                ::stat((path + "/..").c_str(), &above) == 0 && here.st_dev != above.st_dev;
  return is_fat ? std::optional(here.st_dev) : std::nullopt;
}

/// The devices of all partitions called "cfs-esp", by what the kernel says (no udev needed).
Result<std::vector<std::string>> partitions_by_name(const Environment& environment) {
  const std::string wanted = "\nPARTNAME=" + std::string(sysroot::kEspLabel) + "\n";
  const std::string block_devices = environment.kernel_objects + "/class/block";
  std::vector<std::string> found;
  for (const std::string& device : CFS_TRY(list_directory(AT_FDCWD, block_devices))) {
    Result<std::string> uevent =
        read_file(AT_FDCWD, block_devices + "/" + device + "/uevent", kMaxUeventBytes);
    if (uevent && ("\n" + *uevent).find(wanted) != std::string::npos) {
      found.push_back(environment.devices + "/" + device);
    }
  }
  return found;
}

/// Mounts the partition on no path at all: nobody else sees it, and it is gone with the last
/// descriptor.
///
/// All mounts of a device share one superblock. The kernel marks a FAT as not clean for as long as
/// its superblock is writable; a reader's is read-only, so that it writes nothing. A mount that
/// wants the other kind than there is gets EBUSY. A reader, which a long update must not keep out,
/// then takes part in the writer's superblock; a writer has to wait until the readers have gone.
Result<UniqueFd> mount_partition(const std::string& device, Access access) {
  auto mount = [&](Access superblock) -> Result<UniqueFd> {
    mount::FsContext context = CFS_TRY(mount::FsContext::open("vfat"));
    CFS_TRY(context.set_string("source", device));
    CFS_TRY(context.set_string("umask", "0077"));
    if (superblock == Access::kRead) CFS_TRY(context.set_flag("ro"));
    CFS_TRY(context.create());
    return context.mount(MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC |
                         (access == Access::kRead ? MOUNT_ATTR_RDONLY : 0));
  };
  Result<UniqueFd> mounted = mount(access);
  if (access == Access::kRead && !mounted && mounted.error().sys_errno == EBUSY) {
    mounted = mount(Access::kWrite);
  }
  if (mounted) return mounted;
  Error error = std::move(mounted).error().with("while mounting '" + device + "'");
  if (error.sys_errno == ENODEV) {
    error.code = ErrorCode::kUnsupported;
    error.hint = "the kernel needs the modules vfat, nls_cp437 and nls_ascii";
  } else if (error.sys_errno == EBUSY) {
    error.hint = "it is mounted read-only elsewhere, or being checked: unmount it there";
  }
  return error;
}

Result<UniqueFd> open_esp(const Environment& environment, Access access) {
  Result<std::string> device = find_esp(environment);
  std::optional<dev_t> number;
  if (device) number = CFS_TRY(stat_at(AT_FDCWD, *device, 0)).st_rdev;
  for (const char* place : kUsualPlaces) {
    std::optional<dev_t> mounted = mounted_fat(place);
    // Where nothing says which partition it must be, the one that is mounted there is taken.
    bool is_it = mounted && (!number || *mounted == *number);
    if (is_it) return open_at(AT_FDCWD, place, O_RDONLY | O_DIRECTORY);
  }
  const std::string partition = CFS_TRY(std::move(device));
  if (access == Access::kRead) {
    return mount_when_free(kReaderWait, [&] { return mount_partition(partition, access); });
  }
  Result<bool> checked = false;
  UniqueFd root = CFS_TRY(mount_when_free(kWriterWait, [&]() -> Result<UniqueFd> {
    checked = check_esp(environment, partition);
    CFS_TRY(check_interrupted());
    return mount_partition(partition, access);
  }));
  if (!checked) {
    environment.print("warning: the EFI system partition was not left clean, and is not checked: " +
                      checked.error().describe() + "\n");
  }
  return root;
}

/// Removes what a process that was killed, or a check after a power cut, has left on the ESP.
Result<> remove_leftovers(boot::SystemdBoot& loader, int root_fd) {
  CFS_TRY(loader.remove_leftovers());
  return remove_saved_clusters(root_fd);
}

}  // namespace

Result<std::string> find_esp(const Environment& environment) {
  if (std::optional<std::string> uuid =
          CFS_TRY(boot::booted_partition(environment.efi_variables))) {
    const std::string device = environment.devices + "/disk/by-partuuid/" + *uuid;
    auto is_there = [&] { return stat_at(AT_FDCWD, device, 0).has_value(); };
    if (CFS_TRY(repeat_until(environment.device_wait, is_there))) return device;
    return make_error(ErrorCode::kNotFound,
                      "cannot find the EFI system partition that this "
                      "machine was booted from, PARTUUID " +
                          *uuid)
        .with_hint("mount it on /efi, or name its directory with --esp");
  }
  std::vector<std::string> named = CFS_TRY(partitions_by_name(environment));
  if (named.size() == 1) return named.front();
  if (named.empty()) {
    return make_error(ErrorCode::kNotFound, "cannot find the EFI system partition")
        .with_hint("mount it on /efi, or name its directory with --esp");
  }
  std::string all;
  for (const std::string& device : named) all += (all.empty() ? "" : ", ") + device;
  return make_error(ErrorCode::kNotFound,
                    "several partitions are called " + std::string(sysroot::kEspLabel) + ": " + all)
      .with_hint("mount the right one on /efi, or name its directory with --esp");
}

Result<MountedEsp> MountedEsp::open(const std::string& path, const Environment& environment,
                                    Access access) {
  UniqueFd directory = path.empty() ? CFS_TRY(open_esp(environment, access))
                                    : CFS_TRY(open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY));
  boot::SystemdBoot loader =
      CFS_TRY(boot::SystemdBoot::open(directory.get(), ".", environment.efi_variables));
  if (access == Access::kWrite) {
    Result<> removed = remove_leftovers(loader, directory.get());
    // They take room, no more: whoever can do without goes on.
    if (!removed) environment.print("warning: " + removed.error().describe() + "\n");
  }
  return MountedEsp(std::move(loader));
}

Result<UniqueFd> mount_when_free(std::chrono::milliseconds limit,
                                 const std::function<Result<UniqueFd>()>& mount) {
  Result<UniqueFd> mounted;
  CFS_TRY(repeat_until(limit, [&] {
    mounted = mount();
    return mounted || mounted.error().sys_errno != EBUSY;
  }));
  return mounted;
}

}  // namespace cfs::deployer
