// SPDX-License-Identifier: Apache-2.0
#include <iostream>

#include "lib/base/interrupt.h"
#include "lib/base/report.h"
#include "signer/command.h"

int main(int argc, char** argv) {
  cfs::catch_interrupts();
  cfs::Result<> done = cfs::signer::run(std::vector<std::string>(argv + 1, argv + argc), std::cout);
  return cfs::finish_program("cfs-sign", done);
}
