// SPDX-License-Identifier: Apache-2.0
#include "lib/command/program.h"
#include "signer/command.h"

int main(int argc, char** argv) {
  return cfs::run_program("cfs-sign", cfs::signer::run, argc, argv);
}
