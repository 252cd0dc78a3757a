// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lib/base/result.h"

namespace cfs {

/// Seconds since 1970-01-01T00:00:00Z, without leap seconds.
using UnixTime = int64_t;

/// 9999-12-31T23:59:59Z, the last time that can be written in the form of parse_time().
constexpr UnixTime kMaxTime = 253'402'300'799;

/// The clock of this machine.
[[nodiscard]] UnixTime current_time();

/// Parses "YYYY-MM-DDTHH:MM:SSZ", years 1970 to 9999; no other form of RFC 3339 is accepted.
/// Errors: kCorrupt. Spec: TUF 1.0.34 §4.3 EXPIRES; RFC 3339 §5.6.
[[nodiscard]] Result<UnixTime> parse_time(std::string_view text);

/// The same form. A time before that range is shown as its beginning, one after it as its end.
[[nodiscard]] std::string format_time(UnixTime time);

}  // namespace cfs
