// SPDX-License-Identifier: Apache-2.0
// The command lines of cfs-build, cfs-sign and cfs-deploy: one way to say what is wrong.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "lib/base/command_io.h"
#include "lib/base/result.h"

namespace cfs::command {

enum class Parsed {
  kCommand,      ///< do what `app` was told
  kHelpPrinted,  ///< there is nothing left to do
};

/// Parses `arguments`, without the program's name, into what `app` was made with. `app` has the
/// program's name and, if it has commands, requires one (CLI::App::require_subcommand).
///
/// An empty value is refused for every option and argument, so that a path that is given is one.
///
/// What is wrong is said in our words, never in those of CLI11. An option's own check
/// (CLI::Option::check) supplies what follows its name: "'x' is not …".
///
/// Help is a result and goes to `io`; it is that of the innermost command named, and begins with
/// its usage with all words: "Usage: cfs-sign release add [OPTIONS] …".
/// Errors: kUsage; the message says which word is wrong, the hint which one is near and how to get
/// help.
[[nodiscard]] Result<Parsed> parse(CLI::App& app, const std::vector<std::string>& arguments,
                                   const Io& io);

/// The check of an option whose value is a decimal number from `min` to `max`.
[[nodiscard]] CLI::Validator integer_between(int64_t min, int64_t max);

}  // namespace cfs::command
