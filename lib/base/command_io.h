// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "lib/base/result.h"

namespace cfs {

/// Where a command reads and where its results go, so that tests run it in their own process. Its
/// progress (lib/base/progress.h) goes to standard error.
struct Io {
  int in_fd = 0;
  int out_fd = 1;
};

/// Writes a result to `io.out_fd`, at once.
///
/// A result that does not get there is a failure, and never one of the work that it tells of: every
/// command prints when it is done, or goes on without what it could not print.
/// Errors: kIo, whatever the reason is (full, closed), with a hint that says so; kInterrupted, when
/// a signal ends a wait for the reader.
[[nodiscard]] Result<> print(const Io& io, std::string_view text);

/// Text for a descriptor, collected into large writes. Nothing arrives without flush(). Errors: as
/// print(); kInterrupted also before a write.
class TextOutput {
 public:
  explicit TextOutput(int fd) : fd_(fd) {}
  [[nodiscard]] Result<> write(std::string_view text);
  [[nodiscard]] Result<> flush();

 private:
  int fd_;
  std::string buffer_;
};

}  // namespace cfs
