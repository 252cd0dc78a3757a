// SPDX-License-Identifier: Apache-2.0
#include "deployer/systemctl.h"

#include "lib/base/subprocess.h"
#include "lib/base/utf8.h"

namespace cfs::deployer {
namespace {

constexpr std::chrono::seconds kTimeout{60};
constexpr size_t kMaxBytes = 4096;

}  // namespace

Result<std::string> systemctl(const Environment& environment, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), environment.systemctl);
  Subprocess child = CFS_TRY(Subprocess::start({.arguments = std::move(arguments),
                                                .environment = {},
                                                .working_directory = {},
                                                .standard_error = StandardError::kWithOutput}));
  TimedRun run = CFS_TRY(child.wait_at_most(kTimeout, kMaxBytes));
  if (run.end == TimedRun::End::kExited && run.number == 0) return std::move(run.output);
  return make_error(ErrorCode::kSubprocess,
                    "systemctl does not answer: " + printable_text(run.output));
}

}  // namespace cfs::deployer
