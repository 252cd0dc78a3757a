// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/command_io.h"
#include "lib/base/result.h"

namespace cfs {

/// A command without its process: `arguments` are argv[1] and on. Returns the exit status when
/// nothing failed: 0, or 10 where "nothing to do" is documented.
using CommandFunction =
    std::function<Result<int>(const std::vector<std::string>& arguments, const Io& io)>;

/// What `main` does, in every program: signals, `--version`, the command, and one report of its
/// error, also of one that was thrown. Returns the exit status (docs/ERRORS.md).
int run_program(std::string_view name, const CommandFunction& command, int argc, char** argv);

}  // namespace cfs
