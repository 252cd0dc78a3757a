// SPDX-License-Identifier: Apache-2.0
// cfs-deploy for a machine without fs-verity, which takes what it is told about the device from a
// directory.
//
//     deploy_without_verity DIR cfs-deploy's arguments…
//
// DIR holds `cmdline`, what the kernel was booted with, and, where that is asked for, `root`, the
// root of the system, `efivars`, `sys` and `dev`. `clock` is the time, as a number; without it the
// machine's counts.
#include <cstdlib>

#include "deployer/command.h"
#include "lib/base/io.h"
#include "lib/command/program.h"

int main(int argc, char** argv) {
  if (argc < 2) return cfs::exit_status(cfs::ErrorCode::kUsage);
  const std::string directory = argv[1];
  cfs::deployer::Environment environment;
  environment.verity = cfs::store::VerityPolicy::kIfSupported;
  if (cfs::Result<std::string> clock = cfs::read_file(AT_FDCWD, directory + "/clock", 64)) {
    environment.now = [time = std::atoll(clock->c_str())] { return time; };
  }
  environment.root = directory + "/root";
  environment.kernel_command_line = directory + "/cmdline";
  environment.kernel_settings = directory + "/settings";
  environment.kernel_log = directory + "/kmsg";
  environment.drop_caches = directory + "/drop_caches";
  environment.run = directory + "/run";
  environment.efi_variables = directory + "/efivars";
  environment.kernel_objects = directory + "/sys";
  environment.devices = directory + "/dev";
  environment.vendor_directory = directory + "/vendor";
  environment.local_directory = directory + "/local";
  environment.systemctl = directory + "/systemctl";
  environment.busctl = directory + "/busctl";
  environment.machine_id = directory + "/machine-id";
  auto run = [&](const std::vector<std::string>& arguments, const cfs::Io& io) {
    return cfs::deployer::run(arguments, io, environment);
  };
  argv[1] = argv[0];
  return cfs::run_program("cfs-deploy", run, argc - 1, argv + 1);
}
