// SPDX-License-Identifier: Apache-2.0
#include "lib/boot/fat_publish.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/io.h"

namespace cfs::boot {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class FatPublishTest : public ::testing::Test {
 protected:
  std::vector<std::string> names() { return list_directory(root_.get(), "d").value(); }
  std::string content(const std::string& name) {
    return read_file(root_.get(), "d/" + name, 100).value();
  }
  Result<> publish(const std::string& text) {
    return fat_publish(root_.get(), "d/x",
                       [&](int file) { return write_full(file, as_bytes(text)); });
  }
  void SetUp() override { ASSERT_TRUE(make_directories(root_.get(), "d")); }

  TemporaryDirectory directory_ = TemporaryDirectory::create().value();
  UniqueFd root_ = open_at(AT_FDCWD, directory_.path(), O_RDONLY | O_DIRECTORY).value();
};

TEST_F(FatPublishTest, MakesReplacesAndRenames) {
  ASSERT_TRUE(publish("one"));
  EXPECT_EQ(content("x"), "one");
  ASSERT_TRUE(publish("two"));
  EXPECT_EQ(content("x"), "two");
  ASSERT_TRUE(fat_rename(root_.get(), "d/x", "d/y"));
  EXPECT_THAT(names(), ElementsAre("y"));
  EXPECT_EQ(content("y"), "two");
  EXPECT_EQ(fat_rename(root_.get(), "d/x", "d/z").error().code, ErrorCode::kNotFound);
}

TEST_F(FatPublishTest, WhatFailsLeavesTheOldFile) {
  ASSERT_TRUE(publish("one"));
  Result<> failed = fat_publish(root_.get(), "d/x", [](int file) -> Result<> {
    CFS_TRY(write_full(file, as_bytes("half")));
    return make_error(ErrorCode::kNoSpace, "full");
  });
  EXPECT_EQ(failed.error().code, ErrorCode::kNoSpace);
  EXPECT_EQ(content("x"), "one");
  EXPECT_THAT(names(), ElementsAre("x"));
}

TEST_F(FatPublishTest, LeftoversAreRemoved) {
  ASSERT_TRUE(write_file_atomically(root_.get(), "d/x.cfs-new", as_bytes("half")));
  ASSERT_TRUE(fat_remove_leftovers(root_.get(), "d"));
  EXPECT_THAT(names(), IsEmpty());
}

}  // namespace
}  // namespace cfs::boot
