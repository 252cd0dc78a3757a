// SPDX-License-Identifier: Apache-2.0
#include "lib/base/hex.h"

#include <gtest/gtest.h>

namespace cfs {
namespace {

TEST(Hex, RoundTripsAndRefuses) {
  std::byte out[2];
  ASSERT_TRUE(from_hex("aBcd", out));
  EXPECT_EQ(to_hex(out), "abcd");
  EXPECT_FALSE(from_hex("abc", out));
  EXPECT_FALSE(from_hex("abcg", out));
}

}  // namespace
}  // namespace cfs
