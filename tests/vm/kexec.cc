// SPDX-License-Identifier: Apache-2.0
// Starts another kernel without firmware and boot loader.
//
//     kexec KERNEL INITRAMFS COMMAND-LINE
#include <linux/reboot.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "lib/base/io.h"

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  cfs::Result<cfs::UniqueFd> kernel = cfs::open_regular_at(AT_FDCWD, argv[1]);
  cfs::Result<cfs::UniqueFd> initramfs = cfs::open_regular_at(AT_FDCWD, argv[2]);
  if (!kernel || !initramfs) return 1;
  const std::string cmdline = argv[3];
  if (::syscall(SYS_kexec_file_load, kernel->get(), initramfs->get(), cmdline.size() + 1,
                cmdline.c_str(), 0UL) != 0) {
    std::perror("kexec_file_load");
    return 1;
  }
  ::sync();
  (void)::syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_KEXEC,
                  nullptr);
  std::perror("reboot");
  return 1;
}
