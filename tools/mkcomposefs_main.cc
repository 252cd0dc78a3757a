// SPDX-License-Identifier: Apache-2.0
#include "lib/command/program.h"
#include "tools/mkcomposefs.h"

int main(int argc, char** argv) {
  int status = cfs::run_program("mkcomposefs", cfs::tools::run_mkcomposefs, argc, argv);
  return status == 0 ? 0 : 1;  // as the original has it
}
