// SPDX-License-Identifier: Apache-2.0
#include "deployer/init.h"

#include <memory>

#include "deployer/options.h"

namespace cfs::deployer {

RunCommand declare_init(CLI::App& command) {
  struct Arguments {
    std::string sysroot = kDefaultSysroot;
    ReleaseOptions releases;
  };
  auto arguments = std::make_shared<Arguments>();
  add_sysroot_option(command, arguments->sysroot);
  add_release_options(command, arguments->releases);
  return [arguments](const Environment& environment) -> Result<Answer> {
    std::string root = CFS_TRY(arguments->releases.read_root());
    CFS_TRY(Sysroot::create(environment, arguments->sysroot, arguments->releases.origin(), root,
                            arguments->releases.board));
    environment.print("made a sysroot in " + arguments->sysroot + "\n");
    return Answer();
  };
}

}  // namespace cfs::deployer
