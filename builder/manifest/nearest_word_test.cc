// SPDX-License-Identifier: Apache-2.0
#include "builder/manifest/nearest_word.h"

#include <gtest/gtest.h>

#include <vector>

namespace cfs::builder {
namespace {

TEST(NearestWord, IsOnlyANearOne) {
  std::vector<std::string_view> words = {"path", "strip", "into"};
  EXPECT_EQ(nearest_word("pth", words), "path");
  EXPECT_EQ(nearest_word("stirp", words), "strip");
  EXPECT_EQ(nearest_word("banana", words), "");
}

TEST(NearestWord, IsTheFirstOfSeveralThatAreEquallyNear) {
  std::vector<std::string_view> words = {"dbux", "dbus", "dbuz"};
  EXPECT_EQ(nearest_word("dbuss", words), "dbus");
  EXPECT_EQ(nearest_word("dbuy", words), "dbux");
  EXPECT_EQ(nearest_word("", words), "");
  EXPECT_EQ(nearest_word("x", {}), "");
}

}  // namespace
}  // namespace cfs::builder
