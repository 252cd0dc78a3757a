// SPDX-License-Identifier: Apache-2.0
#include "deployer/mounted_esp.h"

#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "lib/base/io.h"
#include "lib/mount/fs_context.h"

namespace cfs::deployer {
namespace {

constexpr const char* kUsualPlaces[] = {"/efi", "/boot", "/boot/efi"};
constexpr const char* kBlockDevices = "/sys/class/block";
constexpr size_t kMaxUeventBytes = 4096;

/// Is a FAT file system mounted on `path`? Looking makes an automount happen. A directory inside
/// one does not count: where the partition is mounted on /boot, /boot/efi is its folder EFI.
bool is_mounted_fat(const std::string& path) {
  struct statfs file_system = {};
  struct stat here = {};
  struct stat above = {};
  return ::statfs(path.c_str(), &file_system) == 0 && file_system.f_type == MSDOS_SUPER_MAGIC &&
         ::stat(path.c_str(), &here) == 0 && ::stat((path + "/..").c_str(), &above) == 0 &&
         here.st_dev != above.st_dev;
}

/// The device of the partition called "cfs-esp", by what the kernel says (no udev needed).
Result<std::string> find_partition() {
  for (const std::string& device : CFS_TRY(list_directory(AT_FDCWD, kBlockDevices))) {
    Result<std::string> uevent =
        read_file(AT_FDCWD, std::string(kBlockDevices) + "/" + device + "/uevent", kMaxUeventBytes);
    if (uevent && ("\n" + *uevent).find("\nPARTNAME=cfs-esp\n") != std::string::npos) {
      return "/dev/" + device;
    }
  }
  return make_error(ErrorCode::kNotFound, "cannot find the EFI system partition")
      .with_hint("mount it on /boot/efi or /efi, or name its directory with --esp");
}

/// Mounts the partition on no path at all: nobody else sees it, and it is gone with the last
/// descriptor.
Result<UniqueFd> mount_partition() {
  std::string device = CFS_TRY(find_partition());
  auto mount = [&]() -> Result<UniqueFd> {
    mount::FsContext context = CFS_TRY(mount::FsContext::open("vfat"));
    CFS_TRY(context.set_string("source", device));
    CFS_TRY(context.set_string("umask", "0077"));
    CFS_TRY(context.create());
    return context.mount(MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  };
  Result<UniqueFd> mounted = mount();
  if (mounted) return mounted;
  Error error = std::move(mounted).error().with("while mounting '" + device + "'");
  if (error.sys_errno == ENODEV) {
    error.code = ErrorCode::kUnsupported;
    error.hint = "the kernel needs the modules vfat, nls_cp437 and nls_ascii";
  }
  return error;
}

}  // namespace

Result<MountedEsp> MountedEsp::open(const std::string& path) {
  std::string found = path;
  for (const char* place : kUsualPlaces) {
    if (found.empty() && is_mounted_fat(place)) found = place;
  }
  UniqueFd directory = found.empty() ? CFS_TRY(mount_partition())
                                     : CFS_TRY(open_at(AT_FDCWD, found, O_RDONLY | O_DIRECTORY));
  boot::Esp esp = CFS_TRY(boot::Esp::open(directory.get(), "."));
  return MountedEsp(std::move(esp), std::move(directory));
}

}  // namespace cfs::deployer
