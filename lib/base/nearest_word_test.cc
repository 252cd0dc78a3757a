// SPDX-License-Identifier: Apache-2.0
#include "lib/base/nearest_word.h"

#include <gtest/gtest.h>

#include <vector>

namespace cfs {
namespace {

TEST(NearestWord, FindsWhatWasMeant) {
  const std::vector<std::string_view> commands = {"init", "update", "status", "rollback",
                                                  "install"};
  EXPECT_EQ(nearest_word("upgrade", commands), "update");
  EXPECT_EQ(nearest_word("stats", commands), "status");
  EXPECT_EQ(nearest_word("roolback", commands), "rollback");
  EXPECT_EQ(nearest_word("updaet", commands), "update");
  const std::vector<std::string_view> names = {"gateway", "sensor"};
  EXPECT_EQ(nearest_word("gatway", names), "gateway");
  EXPECT_EQ(did_you_mean("gatway", names), "did you mean 'gateway'?");
}

TEST(NearestWord, IsOnlyANearOne) {
  const std::vector<std::string_view> words = {"path", "strip", "into"};
  EXPECT_EQ(nearest_word("banana", words), "");
  EXPECT_EQ(nearest_word("", words), "");
  EXPECT_EQ(nearest_word("x", {}), "");
  EXPECT_EQ(did_you_mean("banana", words), "");
  const std::vector<std::string_view> short_words = {"a", ""};
  EXPECT_EQ(nearest_word("b", short_words), "");
}

TEST(NearestWord, IsTheFirstOfSeveralThatAreEquallyNear) {
  const std::vector<std::string_view> words = {"dbux", "dbus", "dbuz"};
  EXPECT_EQ(nearest_word("dbuss", words), "dbus");
  EXPECT_EQ(nearest_word("dbuy", words), "dbux");
}

}  // namespace
}  // namespace cfs
