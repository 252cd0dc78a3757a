// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <getopt.h>

#include <functional>
#include <string>
#include <vector>

#include "lib/base/result.h"

namespace cfs::tools {

/// Reads a command line with getopt_long, as the original commands do: abbreviations,
/// `--name=value` and `--name value`, options behind operands. `on_option(value of option::val, its
/// argument or null)` is called in order. Returns the operands. Errors: kUsage; those of
/// `on_option`. Not thread-safe.
[[nodiscard]] Result<std::vector<std::string>> read_options(
    const std::string& program, const std::vector<std::string>& arguments, const option* options,
    const std::function<Result<>(int, const char*)>& on_option);

}  // namespace cfs::tools
