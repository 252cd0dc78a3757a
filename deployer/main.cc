// SPDX-License-Identifier: Apache-2.0
#include "deployer/command.h"
#include "lib/command/program.h"

namespace {

cfs::Result<int> run(const std::vector<std::string>& arguments, const cfs::Io& io) {
  cfs::Result<> printed;
  cfs::deployer::Environment environment;
  environment.print = [&](std::string_view text) {
    if (printed) printed = cfs::print(io, text);
  };
  int status = CFS_TRY(cfs::deployer::run(arguments, environment));
  CFS_TRY(std::move(printed));
  return status;
}

}  // namespace

int main(int argc, char** argv) { return cfs::run_program("cfs-deploy", run, argc, argv); }
