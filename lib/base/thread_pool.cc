// SPDX-License-Identifier: Apache-2.0
#include "lib/base/thread_pool.h"

#include <sched.h>

namespace cfs {
namespace {
constexpr size_t kQueuedTasksPerThread = 64;
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    queue_.clear();
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::submit(Task task) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return failed_ || queue_.size() < kQueuedTasksPerThread * limit_; });
  if (failed_) return;
  queue_.push_back(std::move(task));
  if (queue_.size() > idle_ && threads_.size() < limit_) threads_.emplace_back([this] { work(); });
  changed_.notify_all();
}

Result<> ThreadPool::finish() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return (queue_.empty() || failed_) && running_ == 0; });
  if (failed_) return error_;
  return {};
}

void ThreadPool::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    changed_.wait(lock, [this] { return stopping_ || (!queue_.empty() && !failed_); });
    --idle_;
    if (stopping_) return;
    Task task = std::move(queue_.front());
    queue_.pop_front();
    ++running_;
    lock.unlock();
    Result<> result = task();
    task = nullptr;
    lock.lock();
    --running_;
    if (!result && !failed_) {
      failed_ = true;
      error_ = std::move(result).error();
      queue_.clear();
    }
    changed_.notify_all();
  }
}

unsigned available_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  int count = CPU_COUNT(&set);
  return count < 1 ? 1 : static_cast<unsigned>(count);
}

}  // namespace cfs
