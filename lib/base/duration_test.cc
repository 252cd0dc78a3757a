// SPDX-License-Identifier: Apache-2.0
#include "lib/base/duration.h"

#include <gtest/gtest.h>

namespace cfs {
namespace {

TEST(Duration, ThereAndBack) {
  for (const char* text : {"0s", "1s", "90s", "15min", "24h", "1d", "7d", "3660d"}) {
    Result<std::chrono::seconds> duration = parse_duration(text);
    ASSERT_TRUE(duration) << text;
    EXPECT_EQ(parse_duration(format_duration(*duration)).value(), *duration) << text;
  }
  EXPECT_EQ(parse_duration("15min")->count(), 900);
  EXPECT_EQ(format_duration(std::chrono::seconds(900)), "15min");
  EXPECT_EQ(format_duration(std::chrono::hours(24)), "1d");
  EXPECT_EQ(format_duration(std::chrono::seconds(61)), "61s");
}

TEST(Duration, AnythingElseIsRefused) {
  for (const char* text : {"", "15", "min", "15 min", "15m", "-1s", "+1s", "1.5h", "1h30min",
                           "3661d", "99999999999999999999s", "9223372036854775807d", "1S"}) {
    Result<std::chrono::seconds> duration = parse_duration(text);
    ASSERT_FALSE(duration) << text;
    EXPECT_EQ(duration.error().code, ErrorCode::kInvalidInput);
    EXPECT_FALSE(duration.error().hint.empty());
  }
}

}  // namespace
}  // namespace cfs
