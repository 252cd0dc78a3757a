// SPDX-License-Identifier: Apache-2.0
#include <iostream>

#include "builder/command.h"
#include "lib/base/interrupt.h"
#include "lib/base/report.h"

int main(int argc, char** argv) {
  cfs::catch_interrupts();
  std::vector<std::string> arguments(argv + 1, argv + argc);
  cfs::Result<> done = cfs::builder::run(arguments, std::cout);
  return cfs::finish_program("cfs-build", done);
}
