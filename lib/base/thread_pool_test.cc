// SPDX-License-Identifier: Apache-2.0
#include "lib/base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <mutex>
#include <set>
#include <thread>

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

TEST(ThreadPool, StartsAThreadForATaskThatWouldWait) {
  std::mutex mutex;
  std::set<std::thread::id> threads;
  auto note = [&]() -> Result<> {
    std::lock_guard lock(mutex);
    threads.insert(std::this_thread::get_id());
    return {};
  };
  ThreadPool pool(8);
  pool.submit(note);
  ASSERT_TRUE(pool.finish());
  EXPECT_EQ(threads.size(), 1U);

  // Each of them waits for all others.
  std::barrier all(8);
  for (int i = 0; i < 8; ++i) {
    pool.submit([&]() -> Result<> {
      all.arrive_and_wait();
      return note();
    });
  }
  ASSERT_TRUE(pool.finish());
  EXPECT_EQ(threads.size(), 8U);
}

}  // namespace
}  // namespace cfs
