// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "lib/base/result.h"

namespace cfs {

/// Threads that run tasks in the order they were given; the first error stops the rest. A thread is
/// started for a task when no other is free: few tasks need few threads.
///
/// `submit` blocks while more than 64 tasks a thread wait, so that a producer cannot fill memory.
/// submit and finish are called from one thread only.
class ThreadPool {
 public:
  using Task = std::function<Result<>()>;
  /// At most `threads` ≥ 1.
  explicit ThreadPool(unsigned threads) : limit_(threads) {}
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  /// Drops tasks that have not started and waits for those that have.
  ~ThreadPool();

  /// Queues a task. After a task has failed, tasks are accepted and dropped.
  void submit(Task task);

  /// Waits until every task has run or one has failed; returns the first error. The pool can be
  /// used again only after success.
  [[nodiscard]] Result<> finish();

 private:
  void work();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Task> queue_;
  std::vector<std::thread> threads_;
  const size_t limit_;  ///< of threads
  size_t idle_ = 0;     ///< threads that wait for a task
  size_t running_ = 0;
  bool stopping_ = false;
  bool failed_ = false;
  Error error_;
};

/// CPUs this process may run on (its affinity mask), at least 1.
[[nodiscard]] unsigned available_cpus();

}  // namespace cfs
