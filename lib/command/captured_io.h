// SPDX-License-Identifier: Apache-2.0
// For tests: a command's input and output in memory.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include "lib/base/check.h"
#include "lib/base/command_io.h"
#include "lib/base/io.h"

namespace cfs::command {

class CapturedIo {
 public:
  explicit CapturedIo(std::string_view input = "") {
    CFS_CHECK(write_full(in_.get(), as_bytes(input)).has_value());
    CFS_CHECK(::lseek(in_.get(), 0, SEEK_SET) == 0);
  }
  [[nodiscard]] Io io() const { return {.in_fd = in_.get(), .out_fd = out_.get()}; }
  /// All that was printed so far.
  [[nodiscard]] std::string output() const {
    CFS_CHECK(::lseek(out_.get(), 0, SEEK_SET) == 0);
    return read_fd(out_.get(), size_t{64} << 20).value();
  }

 private:
  UniqueFd in_{::memfd_create("in", MFD_CLOEXEC)};
  UniqueFd out_{::memfd_create("out", MFD_CLOEXEC)};
};

}  // namespace cfs::command
