// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "lib/base/result.h"

namespace cfs {

/// One error that says all of `errors` (at least one) about `subject`: a single one as it is; else
/// the code of the first, and a line for each of the first 20 with its hint in parentheses.
[[nodiscard]] Error combine_errors(const std::string& subject, std::vector<Error> errors);

}  // namespace cfs
