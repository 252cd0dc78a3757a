// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "lib/base/result.h"

namespace cfs {

/// Prints `PROGRAM: error: …` and the hint to standard error; returns the exit status to end with.
/// Control characters are printed as '?', lines after the first are indented. Only `main` calls it.
int report_error(std::string_view program, const Error& error);

/// The exit status to end with: `status`, unless that is an error or what was printed to standard
/// output did not arrive there (a full disk, a closed pipe); these are reported. Only `main` calls
/// it.
int finish_program(std::string_view program, const Result<int>& status);
int finish_program(std::string_view program, const Result<>& done);

}  // namespace cfs
