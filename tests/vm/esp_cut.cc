// SPDX-License-Identifier: Apache-2.0
// Makes a UKI the entry of an ESP that boots next, as cfs-deploy does, and resets the machine in
// that instant: what the kernel has not written by then is lost.
//
//     esp_cut DIRECTORY ID UKI
#include <sys/reboot.h>
#include <unistd.h>

#include <cstdio>

#include "lib/base/io.h"
#include "lib/boot/systemd_boot.h"

namespace {

cfs::Result<> run(const std::string& directory, const std::string& id, const std::string& path) {
  cfs::UniqueFd uki = CFS_TRY(cfs::open_regular_at(AT_FDCWD, path));
  cfs::boot::SystemdBoot loader =
      CFS_TRY(cfs::boot::SystemdBoot::open(AT_FDCWD, directory, "/sys/firmware/efi/efivars"));
  CFS_TRY(loader.install(id, uki.get(), {}));
  return loader.set_next(id);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  cfs::Result<> done = run(argv[1], argv[2], argv[3]);
  if (!done) {
    (void)std::fprintf(stderr, "%s\n", done.error().describe().c_str());
    return 1;
  }
  ::reboot(RB_AUTOBOOT);
  return 1;
}
