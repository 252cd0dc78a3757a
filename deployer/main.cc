// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "deployer/command.h"
#include "lib/base/interrupt.h"
#include "lib/base/report.h"

int main(int argc, char** argv) {
  cfs::catch_interrupts();
  cfs::deployer::Environment environment;
  environment.print = [](std::string_view text) {
    // finish_program() looks whether all of it arrived.
    (void)std::fwrite(text.data(), 1, text.size(), stdout);
    (void)std::fflush(stdout);
  };
  auto status = cfs::deployer::run({argv + 1, argv + argc}, environment);
  return cfs::finish_program("cfs-deploy", status);
}
