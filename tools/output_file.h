// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>

#include <optional>
#include <string>

#include "lib/base/atomic_file.h"
#include "lib/base/result.h"
#include "lib/base/unique_fd.h"

namespace cfs::tools {

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
  [[nodiscard]] int fd() const { return whole_ ? whole_->fd() : in_place_.get(); }
  /// Makes the content durable and gives it its name.
  [[nodiscard]] Result<> publish();

 private:
  OutputFile() = default;
  /// Opens the temporary file beside `path_`; `old` is null when there is none yet.
  [[nodiscard]] Result<> open_temporary(const struct stat* old);
  [[nodiscard]] Result<> copy_in_place();

  std::string path_;
  std::optional<AtomicFile> whole_;
  UniqueFd in_place_;      ///< else
  bool replaces_ = false;  ///< there was a file before
};

}  // namespace cfs::tools
