// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

namespace cfs {

/// Says on standard error how far a long operation is: `fetching  41%  12.3 MB/30.0 MB  4.1 MB/s
/// ETA 4 s`. Nothing is said in the first second. On a terminal one line is drawn over and over, at
/// most ten times a second; elsewhere a line is written every ten seconds. Thread-safe.
class Progress {
 public:
  enum class Unit { kBytes, kItems };
  /// `total` 0: unknown, then only the amount and the rate are shown.
  Progress(std::string what, uint64_t total, Unit unit = Unit::kBytes);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// Erases the line on a terminal.
  ~Progress();

  void add(uint64_t amount);

  /// Words to show between the name of the operation and the amounts: "12 of 97".
  void set_note(std::string note);
  /// Says the line now, where it is not drawn over: the last of a step before another begins.
  void say_now();

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr int64_t kQuietMs = 1000;
  void draw_if_due();
  void draw(Clock::time_point now);

  const std::string what_;
  const uint64_t total_;
  const Unit unit_;
  const bool terminal_;
  const Clock::time_point start_;
  std::atomic<uint64_t> done_{0};
  std::atomic<int64_t> counting_since_ms_{-1};  ///< after start_; -1: nothing counted yet
  std::atomic<int64_t> next_draw_ms_{kQuietMs};
  std::mutex mutex_;  ///< of all that follows
  std::string note_;
  bool drawn_ = false;
};

/// The text of a progress line. `seconds` since something was counted; under one there is no rate.
[[nodiscard]] std::string progress_line(std::string_view what, std::string_view note, uint64_t done,
                                        uint64_t total, Progress::Unit unit, double seconds);

/// "512 B", "1.5 kB", "12.3 MB": SI units, one decimal.
[[nodiscard]] std::string format_bytes(uint64_t bytes);

}  // namespace cfs
