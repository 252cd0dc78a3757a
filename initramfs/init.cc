// SPDX-License-Identifier: Apache-2.0
#include "initramfs/init.h"

#include <sys/mount.h>
#include <unistd.h>

#include "initramfs/compose_root.h"
#include "initramfs/find_root.h"
#include "initramfs/modules.h"
#include "lib/base/io.h"
#include "lib/mount/fs_context.h"

namespace cfs::initramfs {
namespace {

constexpr char kModules[] = "/usr/lib/cfs/modules";

// Frees the memory of the initramfs: removes what lies on the file system `device`, below `fd`.
Result<> remove_initramfs(int fd, dev_t device) {
  for (const std::string& name : CFS_TRY(list_directory(fd, "."))) {
    struct stat status = CFS_TRY(stat_at(fd, name, AT_SYMLINK_NOFOLLOW));
    if (status.st_dev != device) continue;
    if (!S_ISDIR(status.st_mode)) {
      CFS_TRY(remove_file(fd, name));
      continue;
    }
    UniqueFd child = CFS_TRY(open_at(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    CFS_TRY(remove_initramfs(child.get(), device));
    (void)::unlinkat(fd, name.c_str(), AT_REMOVEDIR);  // mount points stay
  }
  return {};
}

Result<> switch_root(const std::string& init, char** arguments) {
  for (const char* name : {"/dev", "/proc", "/sys", "/run"}) {
    CFS_TRY(mount::move_mount_to(name, std::string(kSysroot) + name));
  }
  UniqueFd old_root = CFS_TRY(open_at(AT_FDCWD, "/", O_RDONLY | O_DIRECTORY));
  struct stat old_status = CFS_TRY(fstat_fd(old_root.get()));
  CFS_TRY(remove_initramfs(old_root.get(), old_status.st_dev));
  if (::chdir(kSysroot) != 0) return errno_error("cannot enter the root");
  if (::mount(".", "/", nullptr, MS_MOVE, nullptr) != 0) {
    return errno_error("cannot move the root to '/'");
  }
  if (::chroot(".") != 0 || ::chdir("/") != 0) return errno_error("cannot change the root");
  old_root.reset();
  std::string name = init;
  arguments[0] = name.data();
  ::execv(name.c_str(), arguments);
  return errno_error("cannot run '" + init + "'");
}

Result<> run(const kernel_cmdline::CommandLine& command_line, char** arguments, Stage& stage) {
  stage = Stage::kCommandLine;
  kernel_cmdline::BootOptions options = CFS_TRY(kernel_cmdline::parse_boot_options(command_line));
  for (const std::string& name : options.unknown) {
    log_warning("unknown option '" + name + "' on the kernel command line");
  }
  stage = Stage::kSetup;
  ModuleLoader modules = CFS_TRY(ModuleLoader::open(kModules, "/sys"));
  modules.load_always();
  bool more_may_appear = modules.load_for_devices(Drivers::kQuick);
  // The disk may need time to appear, which these use.
  (void)modules.load_for("fs-overlay");
  (void)modules.load_for("fs-erofs");
  // fs-verity keeps the SHA-256 that it finds when it is first used, so the fastest comes before.
  modules.load_for_processor();
  FoundRoot found = CFS_TRY(find_root(options, modules, more_may_appear, stage));
  CFS_TRY(make_directories(AT_FDCWD, kSysroot));
  CFS_TRY(mount::attach(found.mount.get(), kSysroot));
  found.mount.reset();  // or it would stay in use when it has to be mounted anew
  CFS_TRY(compose_root(
      kSysroot, options, [&] { (void)modules.load_for("devname:loop-control"); }, stage));
  log_notice("root is " + options.digest.hex());
  stage = Stage::kHandOver;
  return switch_root(options.init, arguments);
}

}  // namespace

Result<> mount_kernel_file_systems() {
  struct Mount {
    const char* type;
    const char* target;
    unsigned long flags;
    const char* options;
  };
  for (const Mount& entry : {Mount{"proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, ""},
                             Mount{"sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, ""},
                             Mount{"devtmpfs", "/dev", MS_NOSUID, "mode=0755"},
                             Mount{"tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=0755,size=20%"}}) {
    CFS_TRY(make_directories(AT_FDCWD, entry.target));
    if (::mount(entry.type, entry.target, entry.type, entry.flags, entry.options) != 0) {
      return errno_error("cannot mount '" + std::string(entry.target) + "'");
    }
  }
  // The kernel opens the console for us only when the initramfs has the device node.
  if (::fcntl(STDIN_FILENO, F_GETFD) < 0) {
    Result<UniqueFd> console = open_at(AT_FDCWD, "/dev/console", O_RDWR);
    if (console) {
      for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) (void)::dup2(console->get(), fd);
      if (console->get() <= STDERR_FILENO) (void)console->release();
    }
  }
  return {};
}

Error boot_as_init(const kernel_cmdline::CommandLine& command_line, char** arguments,
                   Stage& stage) {
  Result<> result = run(command_line, arguments, stage);
  return std::move(result).error();
}

}  // namespace cfs::initramfs
