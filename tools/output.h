// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "lib/base/bytes.h"
#include "lib/base/result.h"
#include "lib/base/unique_fd.h"

namespace cfs::tools {

/// Where a command reads and writes, so that tests can run it inside their own process.
struct CommandIo {
  int in_fd = 0;
  int out_fd = 1;
};

/// Text for a descriptor, collected into large writes. Nothing arrives without flush().
class TextOutput {
 public:
  explicit TextOutput(int fd) : fd_(fd) {}
  [[nodiscard]] Result<> write(std::string_view text);
  [[nodiscard]] Result<> flush();

 private:
  int fd_;
  std::string buffer_;
};

/// A file that appears under its name whole, or not at all: what was there before stays until
/// publish(). What is not a regular file (a device, a pipe) is written to directly.
class OutputFile {
 public:
  [[nodiscard]] static Result<OutputFile> create(const std::string& path);
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  /// Removes the temporary file, unless published.
  ~OutputFile();

  [[nodiscard]] int fd() const { return fd_.get(); }
  /// Makes the content durable and gives it its name.
  [[nodiscard]] Result<> publish();

 private:
  OutputFile() = default;
  UniqueFd fd_;
  std::string path_;
  std::string temporary_;  ///< empty: written to directly
};

}  // namespace cfs::tools
