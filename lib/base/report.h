// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "lib/base/error.h"

namespace cfs {

/// Prints `PROGRAM: error: …` and the hint to standard error; returns the exit status to end with.
/// Control characters are printed as '?'. Only `main` calls it.
int report_error(std::string_view program, const Error& error);

}  // namespace cfs
