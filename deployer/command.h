// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "deployer/environment.h"
#include "lib/base/command_io.h"
#include "lib/json/value.h"

namespace CLI {
class App;
}

namespace cfs::deployer {

/// What a command says when nothing failed.
struct Answer {
  int status = 0;  ///< exit status: 0, or one that the command documents
  /// What `--json` prints in the place of all text: docs/schema/<command>.json.
  json::Value json = json::Value::Object{{"schema", 1}};
};

/// Does a command whose options have been parsed.
using RunCommand = std::function<Result<Answer>(const Environment&)>;

/// One command of cfs-deploy: a file of its own, and a row in commands().
struct CommandRow {
  const char* name;
  const char* summary;
  /// Adds the command's options to `command`. The function that it returns holds their values.
  RunCommand (*declare)(CLI::App& command);
};

[[nodiscard]] std::span<const CommandRow> commands();

/// The command `cfs-deploy` (CommandFunction of lib/command/program.h) in `environment`, whose
/// `print` is replaced by one to `io`. With `--json` only the answer is printed, or the error:
/// docs/schema/error.json.
[[nodiscard]] Result<int> run(const std::vector<std::string>& arguments, const Io& io,
                              const Environment& environment);

}  // namespace cfs::deployer
