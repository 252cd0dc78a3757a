// SPDX-License-Identifier: Apache-2.0
#include "lib/base/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace cfs {
namespace {

constexpr int64_t kTerminalIntervalMs = 100;
constexpr int64_t kPlainIntervalMs = 10'000;

int64_t milliseconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

}  // namespace

std::string format_bytes(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
  if (bytes < 1000) return std::to_string(bytes) + " B";
  double value = static_cast<double>(bytes);
  const char* unit = "";
  for (const char* next : kUnits) {
    value /= 1000;
    unit = next;
    if (value < 999.95) break;
  }
  char text[32];
  (void)std::snprintf(text, sizeof(text), "%.1f %s", value, unit);
  return text;
}

Progress::Progress(std::string what, uint64_t total, Unit unit)
    : what_(std::move(what)),
      total_(total),
      unit_(unit),
      terminal_(::isatty(STDERR_FILENO) == 1),
      start_(Clock::now()) {}

Progress::~Progress() {
  if (drawn_ && terminal_) (void)std::fputs("\r\033[K", stderr);
}

void Progress::add(uint64_t amount) {
  if (amount == 0) return;
  int64_t none = -1;
  int64_t now_ms = milliseconds(Clock::now() - start_);
  counting_since_ms_.compare_exchange_strong(none, now_ms);
  done_.fetch_add(amount, std::memory_order_relaxed);
  draw_if_due();
}

void Progress::set_note(std::string note) {
  {
    std::lock_guard lock(mutex_);
    note_ = std::move(note);
  }
  draw_if_due();
}

void Progress::say_now() {
  Clock::time_point now = Clock::now();
  if (!terminal_ && milliseconds(now - start_) >= kQuietMs) draw(now);
}

void Progress::draw_if_due() {
  Clock::time_point now = Clock::now();
  int64_t elapsed_ms = milliseconds(now - start_);
  int64_t next = next_draw_ms_.load(std::memory_order_relaxed);
  if (elapsed_ms < next) return;
  int64_t interval_ms = terminal_ ? kTerminalIntervalMs : kPlainIntervalMs;
  if (next_draw_ms_.compare_exchange_strong(next, elapsed_ms + interval_ms)) draw(now);
}

void Progress::draw(Clock::time_point now) {
  double seconds =
      static_cast<double>(milliseconds(now - start_) - std::max<int64_t>(counting_since_ms_, 0)) /
      1000;
  std::lock_guard lock(mutex_);
  std::string line =
      progress_line(what_, note_, done_.load(std::memory_order_relaxed), total_, unit_, seconds);
  drawn_ = true;
  line = terminal_ ? "\r\033[K" + line : line + "\n";
  (void)std::fputs(line.c_str(), stderr);
  (void)std::fflush(stderr);
}

std::string progress_line(std::string_view what, std::string_view note, uint64_t done,
                          uint64_t total, Progress::Unit unit, double seconds) {
  double rate = static_cast<double>(done) / std::max(seconds, 1.0);
  auto amount = [&](uint64_t value) {
    return unit == Progress::Unit::kBytes ? format_bytes(value) : std::to_string(value);
  };
  std::string line(what);
  if (!note.empty()) line += "  " + std::string(note);
  if (done == 0) return line;
  if (total > 0) {
    line += "  " + std::to_string(std::min<uint64_t>(100, done * 100 / total)) + "%  " +
            amount(done) + "/" + amount(total);
  } else {
    line += "  " + amount(done);
  }
  if (seconds < 1) return line;
  line += "  " + amount(static_cast<uint64_t>(rate)) + "/s";
  if (total > done && rate > 0) {
    line += "  ETA " +
            std::to_string(static_cast<uint64_t>(static_cast<double>(total - done) / rate)) + " s";
  }
  return line;
}

}  // namespace cfs
