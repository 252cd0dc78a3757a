// SPDX-License-Identifier: Apache-2.0
#include "lib/command/program.h"
#include "tools/mount_composefs.h"

int main(int argc, char** argv) {
  int status = cfs::run_program("mount.composefs", cfs::tools::run_mount_composefs, argc, argv);
  return status == 0 ? 0 : 1;  // as the original has it
}
