// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

namespace cfs {

/// One line on a terminal that says how far a long operation is: `fetching  41% 12.3 MB/30.0 MB
/// 4.1 MB/s ETA 4 s`. Prints to standard error at most ten times a second, from the first second
/// on, and only when standard error is a terminal. Thread-safe.
class Progress {
 public:
  enum class Unit { kBytes, kItems };
  /// `total` 0: unknown, then only the amount and the rate are shown.
  Progress(std::string what, uint64_t total, Unit unit = Unit::kBytes);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// Erases the line.
  ~Progress();

  void add(uint64_t amount);

 private:
  using Clock = std::chrono::steady_clock;
  void draw(uint64_t done, Clock::time_point now);

  std::string what_;
  uint64_t total_;
  Unit unit_;
  bool terminal_;
  Clock::time_point start_;
  std::atomic<uint64_t> done_{0};
  std::atomic<int64_t> next_draw_ms_{1000};
  std::atomic<bool> drawn_{false};
};

/// "512 B", "1.5 kB", "12.3 MB": SI units, one decimal.
[[nodiscard]] std::string format_bytes(uint64_t bytes);

}  // namespace cfs
