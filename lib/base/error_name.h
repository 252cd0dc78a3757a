// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "lib/base/error.h"

namespace cfs {

/// What programs that read our JSON, and docs/ERRORS.md, call it: "no_space".
[[nodiscard]] std::string_view error_name(ErrorCode code);

}  // namespace cfs
