// SPDX-License-Identifier: Apache-2.0
#include "lib/base/duration.h"

#include <array>
#include <charconv>
#include <cstdint>

namespace cfs {
namespace {

struct Unit {
  std::string_view name;
  int64_t seconds;
};
constexpr std::array<Unit, 4> kUnits = {{{"d", 86400}, {"h", 3600}, {"min", 60}, {"s", 1}}};

}  // namespace

Result<std::chrono::seconds> parse_duration(std::string_view text) {
  int64_t number = -1;
  auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view rest(end, static_cast<size_t>(text.data() + text.size() - end));
  for (const Unit& unit : kUnits) {
    bool is_good = failure == std::errc() && number >= 0 && rest == unit.name &&
                   number <= kMaxDuration.count() / unit.seconds;
    if (is_good) return std::chrono::seconds(number * unit.seconds);
  }
  return make_error(ErrorCode::kInvalidInput, "bad duration '" + std::string(text) + "'")
      .with_hint("a whole number and s, min, h or d, as in '15min'; at most " +
                 format_duration(kMaxDuration));
}

std::string format_duration(std::chrono::seconds duration) {
  const int64_t seconds = duration.count();
  for (const Unit& unit : kUnits) {
    if (seconds != 0 && seconds % unit.seconds == 0) {
      return std::to_string(seconds / unit.seconds) + std::string(unit.name);
    }
  }
  return "0s";
}

}  // namespace cfs
