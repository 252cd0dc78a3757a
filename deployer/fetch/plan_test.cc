// SPDX-License-Identifier: Apache-2.0
#include "deployer/fetch/plan.h"

#include <gtest/gtest.h>

namespace cfs::deployer {
namespace {

TEST(Plan, DiskUsageCountsBlocksTreeAndDescriptor) {
  EXPECT_EQ(disk_usage_bytes(1), 2 * 4096u);     // data, descriptor
  EXPECT_EQ(disk_usage_bytes(4096), 2 * 4096u);  // no tree
  EXPECT_EQ(disk_usage_bytes(4097), 4 * 4096u);  // 2 data, 1 tree
  EXPECT_EQ(disk_usage_bytes(128 * 4096), (128 + 1 + 1) * 4096u);
  EXPECT_EQ(disk_usage_bytes(129 * 4096), (129 + 2 + 1 + 1) * 4096u);
}

}  // namespace
}  // namespace cfs::deployer
