// SPDX-License-Identifier: Apache-2.0
#include "lib/base/time.h"

#include <gtest/gtest.h>

#include <limits>

namespace cfs {
namespace {

TEST(TimeTest, KnownTimes) {
  EXPECT_EQ(*parse_time("1970-01-01T00:00:00Z"), 0);
  EXPECT_EQ(*parse_time("2000-02-29T12:34:56Z"), 951827696);
  EXPECT_EQ(*parse_time("2030-12-31T23:59:59Z"), 1924991999);
  EXPECT_EQ(*parse_time("9999-12-31T23:59:59Z"), 253402300799);
  for (UnixTime time : {0L, 951827696L, 1924991999L, 253402300799L}) {
    EXPECT_EQ(*parse_time(format_time(time)), time);
  }
}

TEST(TimeTest, WhatIsBeyondTheRangeIsShownAsItsEnd) {
  EXPECT_EQ(format_time(kMaxTime), "9999-12-31T23:59:59Z");
  EXPECT_EQ(format_time(kMaxTime + 1), "9999-12-31T23:59:59Z");
  EXPECT_EQ(format_time(std::numeric_limits<UnixTime>::max()), "9999-12-31T23:59:59Z");
  EXPECT_EQ(format_time(-1), "1970-01-01T00:00:00Z");
  EXPECT_EQ(format_time(std::numeric_limits<UnixTime>::min()), "1970-01-01T00:00:00Z");
}

TEST(TimeTest, RefusesEveryOtherForm) {
  for (std::string_view text : {"",
                                "2030-01-01",
                                "2030-01-01T00:00:00",
                                "2030-01-01T00:00:00z",
                                "2030-01-01t00:00:00Z",
                                "2030-01-01 00:00:00Z",
                                "2030-01-01T00:00:00+00:00",
                                "2030-01-01T00:00:00.0Z",
                                "2030-13-01T00:00:00Z",
                                "2030-00-01T00:00:00Z",
                                "2030-01-00T00:00:00Z",
                                "2030-02-29T00:00:00Z",
                                "2030-04-31T00:00:00Z",
                                "2030-01-01T24:00:00Z",
                                "2030-01-01T00:60:00Z",
                                "2030-01-01T00:00:60Z",
                                "1969-12-31T23:59:59Z",
                                "20x0-01-01T00:00:00Z",
                                "2030-1-001T00:00:00Z",
                                "2030-01-01T00:00:0 Z",
                                "+030-01-01T00:00:00Z",
                                "2030-01-01T-1:00:00Z",
                                "2030-01-01T00:00:00ZZ"}) {
    Result<UnixTime> time = parse_time(text);
    ASSERT_FALSE(time) << text;
    EXPECT_EQ(time.error().code, ErrorCode::kCorrupt);
  }
}

}  // namespace
}  // namespace cfs
