// SPDX-License-Identifier: Apache-2.0
#include "lib/mount/fs_context.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

namespace cfs::mount {
namespace {

TEST(FsContextTest, UnknownTypesAreUnsupported) {
  Result<FsContext> context = FsContext::open("no-such-file-system");
  ASSERT_FALSE(context);
  // EPERM for those who may not mount at all.
  EXPECT_THAT(context.error().sys_errno, ::testing::AnyOf(ENODEV, EPERM));
}

}  // namespace
}  // namespace cfs::mount
