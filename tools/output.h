// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>

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

/// The file a command was told to write.
///
/// Where that can be done it appears under its name whole, or not at all: what was there before
/// stays until publish(). The rest is written where it is, as fopen(path, "w") would: what is not a
/// regular file, what is named by an open descriptor (/dev/stdout, /dev/fd/N), a file with several
/// names or of an owner we cannot give the new one to, a mount point, a file in a directory that
/// we cannot write to.
class OutputFile {
 public:
  /// Errors: what open(2) for writing says of `path`.
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
  /// Opens the temporary file in the directory of `path_`; `old` is null when there is none yet.
  [[nodiscard]] Result<> open_temporary(const struct stat* old);
  [[nodiscard]] Result<> copy_in_place();

  UniqueFd fd_;
  std::string path_;
  std::string temporary_;  ///< empty: written to directly
  bool replaces_ = false;  ///< there was a file before
};

}  // namespace cfs::tools
