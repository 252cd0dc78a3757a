// SPDX-License-Identifier: Apache-2.0
#include "lib/base/time.h"

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "lib/base/check.h"

namespace cfs {
namespace {

// Reads text[at, at + length) as a decimal number; -1 when there is another character.
int digits(std::string_view text, size_t at, size_t length) {
  int value = 0;
  for (char c : text.substr(at, length)) {
    if (c < '0' || c > '9') return -1;
    value = value * 10 + (c - '0');
  }
  return value;
}

}  // namespace

UnixTime current_time() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

Result<UnixTime> parse_time(std::string_view text) {
  constexpr std::string_view kForm = "YYYY-MM-DDTHH:MM:SSZ";
  Error refused = make_error(ErrorCode::kCorrupt, "'" + std::string(text.substr(0, 40)) +
                                                      "' is not a time like 2030-12-31T23:59:59Z");
  if (text.size() != kForm.size()) return refused;
  for (size_t i = 0; i < kForm.size(); ++i) {
    bool separator = std::string_view("-T:Z").find(kForm[i]) != std::string_view::npos;
    if (separator && text[i] != kForm[i]) return refused;
  }
  int hour = digits(text, 11, 2);
  int minute = digits(text, 14, 2);
  int second = digits(text, 17, 2);
  int year = digits(text, 0, 4);
  int month = digits(text, 5, 2);
  int day = digits(text, 8, 2);
  if (year < 1970 || month < 1 || day < 1 || hour < 0 || hour > 23 || minute < 0 || minute > 59 ||
      second < 0 || second > 59) {
    return refused;
  }
  std::chrono::year_month_day date{std::chrono::year(year),
                                   std::chrono::month(static_cast<unsigned>(month)),
                                   std::chrono::day(static_cast<unsigned>(day))};
  if (!date.ok()) return refused;
  int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  return ((days * 24 + hour) * 60 + minute) * 60 + second;
}

std::string format_time(UnixTime time) {
  std::chrono::sys_seconds point{std::chrono::seconds(std::clamp<UnixTime>(time, 0, kMaxTime))};
  auto day = std::chrono::floor<std::chrono::days>(point);
  std::chrono::year_month_day date(day);
  std::chrono::hh_mm_ss clock(point - day);
  char text[32];
  int length = std::snprintf(
      text, sizeof text, "%04d-%02u-%02uT%02d:%02d:%02dZ", static_cast<int>(date.year()),
      static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
      static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
      static_cast<int>(clock.seconds().count()));
  CFS_CHECK(length == 20);
  return {text, 20};
}

}  // namespace cfs
