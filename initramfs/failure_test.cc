// SPDX-License-Identifier: Apache-2.0
#include "initramfs/failure.h"

#include <gtest/gtest.h>

namespace cfs::initramfs {
namespace {

TEST(FailureNameTest, ImagesHaveFour) {
  auto name = [](ErrorCode code) { return failure_name(Stage::kImage, make_error(code, "")); };
  EXPECT_EQ(name(ErrorCode::kNotFound), "image-missing");
  EXPECT_EQ(name(ErrorCode::kNoVerity), "image-no-verity");
  EXPECT_EQ(name(ErrorCode::kDigestMismatch), "image-digest");
  EXPECT_EQ(name(ErrorCode::kIo), "image");
  EXPECT_EQ(failure_name(Stage::kMount, make_error(ErrorCode::kNotFound, "")), "mount");
}

}  // namespace
}  // namespace cfs::initramfs
