// SPDX-License-Identifier: Apache-2.0
#include "builder/command.h"
#include "lib/command/program.h"

int main(int argc, char** argv) {
  return cfs::run_program("cfs-build", cfs::builder::run, argc, argv);
}
