// SPDX-License-Identifier: Apache-2.0
#include "lib/base/command_io.h"

#include "lib/base/interrupt.h"
#include "lib/base/io.h"

namespace cfs {
namespace {

constexpr size_t kFlushBytes = 64 << 10;

Result<> write_result(int fd, std::string_view text) {
  CFS_TRY(check_interrupted());
  CFS_TRY_WITH("while printing the result", write_full(fd, as_bytes(text)));
  return {};
}

}  // namespace

Result<> print(const Io& io, std::string_view text) { return write_result(io.out_fd, text); }

Result<> TextOutput::write(std::string_view text) {
  buffer_ += text;
  if (buffer_.size() < kFlushBytes) return {};
  return flush();
}

Result<> TextOutput::flush() {
  CFS_TRY(write_result(fd_, buffer_));
  buffer_.clear();
  return {};
}

}  // namespace cfs
