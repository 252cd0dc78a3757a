// SPDX-License-Identifier: Apache-2.0
#include "lib/base/random_name.h"

#include <gtest/gtest.h>

#include <set>

namespace cfs {
namespace {

TEST(RandomName, HasItsFormAndDiffersEveryTime) {
  std::set<std::string> names;
  for (int i = 0; i < 1000; ++i) names.insert(random_name());
  EXPECT_EQ(names.size(), 1000U);
  for (const std::string& name : names) EXPECT_TRUE(is_random_name(name)) << name;
}

TEST(RandomName, OtherNamesAreNotRandomNames) {
  for (const char* name : {"", "0123456789abcde", "0123456789abcdef0", "0123456789ABCDEF",
                           "0123456789abcdeg", "photographs-2024", " 123456789abcdef"}) {
    EXPECT_FALSE(is_random_name(name)) << name;
  }
}

}  // namespace
}  // namespace cfs
