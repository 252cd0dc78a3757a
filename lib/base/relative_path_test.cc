// SPDX-License-Identifier: Apache-2.0
#include "lib/base/relative_path.h"

#include <gtest/gtest.h>

namespace cfs {
namespace {

// NOLINTNEXTLINE(misc-unused-using-decls): it is used below
using std::string_view_literals::operator""sv;

TEST(RelativePath, PlainPathsAreOfPlainNames) {
  for (std::string_view path : {"a"sv, "a/b"sv, "..."sv, "a/.b/c..d"sv, "\xff\n"sv}) {
    EXPECT_TRUE(is_plain_path(path)) << path;
  }
  for (std::string_view path : {""sv, "/"sv, "/a"sv, "a/"sv, "a//b"sv, "."sv, ".."sv, "a/."sv,
                                "a/../b"sv, "./a"sv, "a\0b"sv}) {
    EXPECT_FALSE(is_plain_path(path)) << path;
  }
  EXPECT_TRUE(is_plain_name("a"));
  EXPECT_FALSE(is_plain_name("a/b"));
}

TEST(RelativePath, NamesAndPathsAreNoLongerThanTheKernelTakes) {
  EXPECT_TRUE(is_plain_name(std::string(255, 'x')));
  EXPECT_FALSE(is_plain_name(std::string(256, 'x')));
  std::string path = "x";
  while (path.size() < 4095) path += "/x";
  ASSERT_EQ(path.size(), 4095U);
  EXPECT_TRUE(is_plain_path(path));
  EXPECT_FALSE(is_plain_path(path + "x"));
}

TEST(RelativePath, SplitsAtTheLastSlash) {
  auto split = [](std::string_view path) {
    SplitPath parts = split_path(path);
    return parts.directory + "|" + parts.name;
  };
  EXPECT_EQ(split("a"), ".|a");
  EXPECT_EQ(split("a/b/c"), "a/b|c");
  EXPECT_EQ(split("/a"), "/|a");
  EXPECT_EQ(split("a/"), "a|");
  EXPECT_EQ(split(""), ".|");
}

}  // namespace
}  // namespace cfs
