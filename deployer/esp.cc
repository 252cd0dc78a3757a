// SPDX-License-Identifier: Apache-2.0
#include "deployer/esp.h"

#include <linux/magic.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/base/io.h"

namespace cfs::deploy {
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

/// Mounts the partition where only this process sees it. Returns the mount point.
Result<std::string> mount_partition() {
  std::string device = CFS_TRY(find_partition());
  if (::unshare(CLONE_NEWNS) != 0) return errno_error("cannot make a mount namespace");
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) {
    return errno_error("cannot make mounts private");
  }
  std::string point = "/run/cfs-esp-XXXXXX";
  if (::mkdtemp(point.data()) == nullptr) return errno_error("cannot make a directory in /run");
  if (::mount(device.c_str(), point.c_str(), "vfat", MS_NOSUID | MS_NODEV | MS_NOEXEC,
              "umask=0077") != 0) {
    int error_number = errno;
    ::rmdir(point.c_str());
    Error error = errno_error("cannot mount '" + device + "'", error_number);
    if (error_number == ENODEV) {
      error.code = ErrorCode::kUnsupported;
      error.hint = "the kernel needs the modules vfat, nls_cp437 and nls_ascii";
    }
    return error;
  }
  return point;
}

}  // namespace

MountedEsp::MountedEsp(MountedEsp&& other) noexcept
    : esp_(std::move(other.esp_)),
      directory_(std::move(other.directory_)),
      mount_point_(std::move(other.mount_point_)) {
  other.mount_point_.clear();
}

MountedEsp::~MountedEsp() {
  if (mount_point_.empty()) return;
  esp_.reset();
  directory_.reset();
  ::umount2(mount_point_.c_str(), 0);
  ::rmdir(mount_point_.c_str());
}

Result<MountedEsp> MountedEsp::open(const std::string& path) {
  MountedEsp esp;
  std::string found = path;
  for (const char* place : kUsualPlaces) {
    if (found.empty() && is_mounted_fat(place)) found = place;
  }
  if (found.empty()) found = esp.mount_point_ = CFS_TRY(mount_partition());
  esp.directory_ = CFS_TRY(open_at(AT_FDCWD, found, O_RDONLY | O_DIRECTORY));
  esp.esp_ = CFS_TRY(boot::Esp::open(esp.directory_.get(), "."));
  return esp;
}

}  // namespace cfs::deploy
