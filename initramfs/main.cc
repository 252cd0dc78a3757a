// SPDX-License-Identifier: Apache-2.0
// cfs-mount-root: mounts the root file system whose digest is pinned on the kernel command line.
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cstdio>
#include <string_view>

#include "initramfs/compose_root.h"
#include "initramfs/find_root.h"
#include "initramfs/init.h"
#include "lib/base/io.h"
#include "lib/command/version.h"

namespace {

using cfs::initramfs::Stage;
using cfs::kernel_cmdline::BootOptions;
using cfs::kernel_cmdline::FailureAction;

constexpr size_t kCommandLineLimitBytes = 64 << 10;

// From the kernel command line, as soon as that is known.
FailureAction failure_action = FailureAction::kReboot;
std::optional<cfs::verity::Digest> pinned_image;

cfs::Result<cfs::kernel_cmdline::CommandLine> read_command_line(Stage& stage) {
  stage = Stage::kCommandLine;
  std::string text = CFS_TRY(cfs::read_file(AT_FDCWD, "/proc/cmdline", kCommandLineLimitBytes));
  auto command_line = cfs::kernel_cmdline::CommandLine::parse(text);
  failure_action = cfs::kernel_cmdline::parse_failure_action(command_line);
  if (auto digest = cfs::kernel_cmdline::pinned_digest(text)) pinned_image = *digest;
  return command_line;
}

cfs::Result<> run_as_init(char** arguments, Stage& stage) {
  CFS_TRY(cfs::initramfs::mount_kernel_file_systems());
  auto command_line = CFS_TRY(read_command_line(stage));
  return cfs::initramfs::boot_as_init(command_line, arguments, stage);
}

cfs::Result<> run_on_mounted_root(const std::string& target, Stage& stage) {
  auto command_line = CFS_TRY(read_command_line(stage));
  BootOptions options = CFS_TRY(cfs::kernel_cmdline::parse_boot_options(command_line));
  // An initramfs made by other tools has its own way to load modules.
  return cfs::initramfs::compose_root(
      target, options, [] {}, stage);
}

/// Whoever mounts the disk then says what is wrong with it; nothing of this keeps the machine from
/// booting.
int mend_superblock() {
  Stage stage = Stage::kSetup;
  auto mend = [&]() -> cfs::Result<> {
    auto command_line = CFS_TRY(read_command_line(stage));
    BootOptions options = CFS_TRY(cfs::kernel_cmdline::parse_boot_options(command_line));
    return cfs::initramfs::mend_root_superblock(options);
  };
  cfs::Result<> mended = mend();
  if (!mended) cfs::initramfs::log_warning(mended.error().describe());
  return mended ? 0 : 1;
}

/// Is this an initramfs in which no root was composed yet? Anywhere else a failure must not be
/// answered by a reboot.
bool is_initramfs() {
  struct statfs root = {};
  return ::statfs("/", &root) == 0 && (root.f_type == RAMFS_MAGIC || root.f_type == TMPFS_MAGIC) &&
         !cfs::stat_at(AT_FDCWD, "/run/cfs/booted.json", 0);
}

}  // namespace

int main(int argc, char** argv) {
  bool is_init = ::getpid() == 1;
  if (!is_init && argc == 2 && std::string_view(argv[1]) == "--version") {
    if (std::printf("cfs-mount-root %s\n", cfs::kVersion) > 0 && std::fflush(stdout) == 0) return 0;
    std::perror("cfs-mount-root: error: cannot print the result on standard output");
    return 1;
  }
  const bool is_to_mend = !is_init && argc == 2 && std::string_view(argv[1]) == "--mend-superblock";
  if (!is_init && !is_to_mend && (argc != 2 || argv[1][0] != '/')) {
    (void)std::fputs(
        "Usage: cfs-mount-root DIRECTORY\n"
        "       cfs-mount-root --mend-superblock\n"
        "Mounts over DIRECTORY, where the file system with cfs/ is mounted, the root pinned by\n"
        "composefs.digest= on the kernel command line. When that fails the machine reboots.\n"
        "Before that it mends, if it is told to, what a power cut has left of the superblock of\n"
        "that file system, named by root=. As process 1 of an initramfs it finds, mends and "
        "mounts\n"
        "it itself.\n",
        stderr);
    return 2;
  }
  if (!is_initramfs()) {
    (void)std::fputs(
        "cfs-mount-root: error: this is not an initramfs that has yet to mount its root\n"
        "hint: it runs while the machine boots; `cfs-deploy status` tells what is booted\n",
        stderr);
    return 2;
  }
  if (is_to_mend) return mend_superblock();
  Stage stage = Stage::kSetup;
  cfs::Result<> result = is_init ? run_as_init(argv, stage) : run_on_mounted_root(argv[1], stage);
  if (!result) {
    cfs::initramfs::fail(stage, result.error(), failure_action,
                         is_init ? cfs::initramfs::kSysroot : argv[1], pinned_image);
  }
  return 0;
}
