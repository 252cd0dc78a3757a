// SPDX-License-Identifier: Apache-2.0
#include "lib/command/program.h"

#include <fcntl.h>
#include <unistd.h>

#include <exception>

#include "lib/base/interrupt.h"
#include "lib/base/report.h"
#include "lib/command/version.h"

namespace cfs {
namespace {

/// A standard descriptor that the caller has closed would be given to the next file that we open,
/// and results would be written into that file. Each gets one that fails when it is used.
void fill_standard_descriptors() {
  for (int fd : {0, 1, 2}) {
    if (::fcntl(fd, F_GETFD) >= 0) continue;
    // The lowest free number is the one that is missing.
    (void)!::open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
  }
}

}  // namespace

int run_program(std::string_view name, const CommandFunction& command, int argc, char** argv) {
  fill_standard_descriptors();
  catch_interrupts();
  const std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
  const Io io;
  auto run = [&]() -> Result<int> {
    if (arguments.size() != 1 || arguments[0] != "--version") return command(arguments, io);
    CFS_TRY(print(io, std::string(name) + " " + kVersion + "\n"));
    return 0;
  };
  auto run_all = [&]() -> Result<int> {
    // Ours are values, not exceptions; what is thrown all the same is reported like them.
    try {
      return run();
    } catch (const std::exception& exception) {
      return make_error(ErrorCode::kInternal, std::string("exception: ") + exception.what());
    }
  };
  Result<int> status = run_all();
  return status ? *status : report_error(name, status.error());
}

}  // namespace cfs
