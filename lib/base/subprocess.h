// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/base/unique_fd.h"

namespace cfs {

/// What to run. No shell is involved.
struct Command {
  std::vector<std::string> arguments;    ///< arguments[0] is looked up in $PATH
  std::vector<std::string> environment;  ///< "NAME=value" added to (or replacing in) our own
  std::string working_directory;         ///< empty: ours
  int stdin_fd = -1;                     ///< borrowed; -1: /dev/null
};

/// A child program whose standard output is read by us and whose standard error is kept for the
/// error message. Killed (SIGTERM), with all that it started, and reaped when destroyed before
/// wait().
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

  /// Closes our end of the pipe and waits. kSubprocess, with the last lines of standard error,
  /// unless the child exited with 0.
  [[nodiscard]] Result<> wait();

 private:
  Subprocess() = default;
  pid_t pid_ = -1;
  std::string name_;
  UniqueFd stdout_;
  UniqueFd stderr_;
};

/// Runs a program to its end and returns its standard output (at most `limit_bytes`).
[[nodiscard]] Result<std::string> run_command(const Command& command,
                                              size_t limit_bytes = 64 << 20);

}  // namespace cfs
