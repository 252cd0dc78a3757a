// SPDX-License-Identifier: Apache-2.0
#include "lib/command/program.h"
#include "tools/composefs_info.h"

int main(int argc, char** argv) {
  int status = cfs::run_program("composefs-info", cfs::tools::run_composefs_info, argc, argv);
  return status == 0 ? 0 : 1;  // as the original has it
}
