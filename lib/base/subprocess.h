// SPDX-License-Identifier: Apache-2.0
// Child programs. What they see is decided here, so that no setting of whoever runs cfs reaches an
// image or a disk through them (docs/decisions/031-environment-of-children.md).
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/base/unique_fd.h"

namespace cfs {

/// What becomes of a child's standard error.
enum class StandardError {
  kKept,        ///< Subprocess::error_output(), and the message when the child fails
  kWithOutput,  ///< it goes where the standard output goes
};

/// What to run. No shell is involved.
///
/// A child inherits nothing but what this list says:
/// - environment: PATH (ours without relative entries, with the sbin directories), TMPDIR, and the
///   proxies http_proxy, https_proxy, ftp_proxy, all_proxy and no_proxy come from ours;
///   HOME=/nonexistent, LANG=C.UTF-8, LC_ALL=C.UTF-8 and TZ=UTC are fixed;
/// - umask 022; every signal unblocked and at its default; no file descriptor above 2; a session of
///   its own, without our terminal;
/// - the user, the limits and the niceness are ours: they decide whether and when a child gets its
///   work done, not what it does.
struct Command {
  std::vector<std::string> arguments;  ///< arguments[0]: a path, or a name that find_program knows
  std::vector<std::string> environment;  ///< "NAME=value", added to the list above or replacing
  std::string working_directory;         ///< empty: ours
  int stdin_fd = -1;                     ///< borrowed; -1: /dev/null
  StandardError standard_error = StandardError::kKept;
};

/// How a program that had a limited time has ended.
struct TimedRun {
  enum class End { kExited, kKilled, kTimedOut };
  End end = End::kExited;
  int number = 0;  ///< kExited: the exit status; kKilled: the signal
  std::chrono::milliseconds duration{0};
  std::string output;  ///< the last bytes of standard output
};

/// The environment of a child, as "NAME=value", with `additions` added or replacing.
[[nodiscard]] std::vector<std::string> child_environment(const std::vector<std::string>& additions);

/// The path of the program called `name` in the PATH of children.
/// Errors: kNotFound when it is not installed.
[[nodiscard]] Result<std::string> find_program(const std::string& name);

/// A child program whose standard output is read by us and whose standard error is kept. When it is
/// destroyed before wait(), the program gets SIGTERM and has a minute to clean up; what is left of
/// it and of all that it started is then killed.
class Subprocess {
 public:
  /// Errors: kNotFound when the program is not installed.
  [[nodiscard]] static Result<Subprocess> start(const Command& command);
  Subprocess(Subprocess&& other) noexcept;
  Subprocess& operator=(Subprocess&&) = delete;
  Subprocess(const Subprocess&) = delete;
  Subprocess& operator=(const Subprocess&) = delete;
  ~Subprocess();

  /// The read end of the child's standard output; owned by this object.
  [[nodiscard]] int stdout_fd() const { return stdout_.get(); }

  /// What the child has written to standard error so far, from `offset` on. At any time, from any
  /// thread.
  [[nodiscard]] std::string error_output(uint64_t offset = 0) const;

  /// Closes our end of the pipe and waits. Errors: kSubprocess, with the last lines of standard
  /// error, unless the child exited with 0; kInterrupted after a signal that asks us to stop, and
  /// then the child is stopped.
  [[nodiscard]] Result<> wait();

  /// Reads the standard output and waits for the end of the program, at most for `limit`. Keeps the
  /// last `tail_bytes` of the output. However the program ends, what it has left in its session's
  /// process group is killed.
  /// Errors: kInterrupted after a signal that asks us to stop, and then the child is stopped.
  [[nodiscard]] Result<TimedRun> wait_at_most(std::chrono::milliseconds limit, size_t tail_bytes);

 private:
  Subprocess() = default;
  void stop();
  [[nodiscard]] bool has_ended() const;
  pid_t pid_ = -1;
  std::string name_;
  UniqueFd stdout_;
  UniqueFd stderr_;
};

/// Runs a program to its end and returns its standard output (at most `limit_bytes`).
[[nodiscard]] Result<std::string> run_command(const Command& command,
                                              size_t limit_bytes = 64 << 20);

}  // namespace cfs
