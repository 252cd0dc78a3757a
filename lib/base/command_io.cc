// SPDX-License-Identifier: Apache-2.0
#include "lib/base/command_io.h"

#include "lib/base/interrupt.h"
#include "lib/base/io.h"

namespace cfs {
namespace {

constexpr size_t kFlushBytes = 64 << 10;

Result<> write_result(int fd, std::string_view text) {
  Result<> written = write_full(fd, as_bytes(text));
  if (written) return {};
  if (written.error().code == ErrorCode::kInterrupted) {
    CFS_TRY_WITH("while printing the result", check_interrupted());
  }
  Error error = make_error(ErrorCode::kIo, "cannot print the result on standard output");
  error.sys_errno = written.error().sys_errno;
  return std::move(error).with_hint(
      "nothing else failed: what the command was to make or change is done; look where its output "
      "goes");
}

}  // namespace

Result<> print(const Io& io, std::string_view text) { return write_result(io.out_fd, text); }

Result<> TextOutput::write(std::string_view text) {
  buffer_ += text;
  if (buffer_.size() < kFlushBytes) return {};
  return flush();
}

Result<> TextOutput::flush() {
  CFS_TRY(check_interrupted());
  CFS_TRY(write_result(fd_, buffer_));
  buffer_.clear();
  return {};
}

}  // namespace cfs
