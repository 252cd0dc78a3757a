// SPDX-License-Identifier: Apache-2.0
#include "deployer/command.h"
#include "lib/command/program.h"

int main(int argc, char** argv) {
  auto run = [](const std::vector<std::string>& arguments, const cfs::Io& io) {
    return cfs::deployer::run(arguments, io, {});
  };
  return cfs::run_program("cfs-deploy", run, argc, argv);
}
