// SPDX-License-Identifier: Apache-2.0
#include "builder/manifest/image_path.h"

#include <gtest/gtest.h>

namespace cfs::builder {
namespace {

TEST(NormalPath, HasOneFormForEveryPath) {
  for (const char* path : {"a/b", "./a//b/", "/a/b", "a/./b", "//a/b/."}) {
    EXPECT_EQ(normal_path(path).value(), "a/b") << path;
  }
  for (const char* root : {"", "/", ".", "./", "//."}) EXPECT_EQ(normal_path(root).value(), "");
  EXPECT_EQ(normal_path("..a/b..").value(), "..a/b..");
}

TEST(NormalPath, StaysInTheImage) {
  for (const char* path : {"..", "/..", "a/../b", "a/.."}) {
    EXPECT_EQ(normal_path(path).error().code, ErrorCode::kInvalidInput) << path;
  }
  EXPECT_FALSE(normal_path(std::string_view("a\0b", 3)));
}

}  // namespace
}  // namespace cfs::builder
