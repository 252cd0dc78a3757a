// SPDX-License-Identifier: Apache-2.0
#include "lib/base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>

namespace cfs {
namespace {

TEST(ThreadPool, RunsEverythingAndReturnsTheFirstError) {
  std::atomic<int> count{0};
  ThreadPool pool(2);
  for (int i = 0; i < 1000; ++i) {
    pool.submit([&]() -> Result<> {
      ++count;
      return {};
    });
  }
  ASSERT_TRUE(pool.finish());
  EXPECT_EQ(count, 1000);
  for (int i = 0; i < 1000; ++i) {
    pool.submit([i]() -> Result<> {
      if (i == 5) return make_error(ErrorCode::kCorrupt, "five");
      return {};
    });
  }
  EXPECT_EQ(pool.finish().error().message, "five");
}

}  // namespace
}  // namespace cfs
