// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "lib/base/result.h"

namespace cfs {

/// The longest that parse_duration() accepts.
constexpr std::chrono::seconds kMaxDuration = std::chrono::hours(24) * 3660;

/// Parses a whole number and one unit, without a blank: "90s", "15min", "24h", "7d". Errors:
/// kInvalidInput, with a hint, also above kMaxDuration.
[[nodiscard]] Result<std::chrono::seconds> parse_duration(std::string_view text);

/// The same form, in the largest unit that fits without a rest; "0s".
[[nodiscard]] std::string format_duration(std::chrono::seconds duration);

}  // namespace cfs
