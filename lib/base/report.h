// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "lib/base/result.h"

namespace cfs {

/// Prints `PROGRAM: error: …` and the hint to standard error; returns the exit status to end with.
/// Control characters are printed as '?', lines after the first are indented. Only run_program()
/// calls it.
int report_error(std::string_view program, const Error& error);

}  // namespace cfs
