// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "deployer/environment.h"
#include "lib/base/command_io.h"

namespace CLI {
class App;
}

namespace cfs::deployer {

/// Does a command whose options have been parsed. Returns the exit status when nothing failed: 0,
/// or 10 when there was nothing to do.
using RunCommand = std::function<Result<int>(const Environment&)>;

/// One command of cfs-deploy: a file of its own, and a row in commands().
struct CommandRow {
  const char* name;
  const char* summary;
  /// Adds the command's options to `command`. The function that it returns holds their values.
  RunCommand (*declare)(CLI::App& command);
};

[[nodiscard]] std::span<const CommandRow> commands();

/// The command `cfs-deploy` (CommandFunction of lib/command/program.h) in `environment`, whose
/// `print` is replaced by one to `io`.
[[nodiscard]] Result<int> run(const std::vector<std::string>& arguments, const Io& io,
                              const Environment& environment);

}  // namespace cfs::deployer
