// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "lib/base/result.h"

namespace cfs {

/// What a file system has left for this process.
struct FileSystemSpace {
  uint64_t free_bytes = 0;
  /// Nothing where the file system makes inodes as it needs them.
  std::optional<uint64_t> free_inodes;
  bool is_read_only = false;
};

/// Looks at the file system that holds `fd`, which may be opened with O_PATH.
[[nodiscard]] Result<FileSystemSpace> file_system_space(int fd);

/// Makes sure, before long work, that `bytes` and `inodes` are free. `what` begins the message:
/// "the sysroot", "'/tmp'". Errors: kNoSpace, with how much is missing as the hint.
[[nodiscard]] Result<> require_space(int fd, std::string_view what, uint64_t bytes,
                                     uint64_t inodes = 0);

/// The decision of require_space() alone.
[[nodiscard]] Result<> require_space(const FileSystemSpace& space, std::string_view what,
                                     uint64_t bytes, uint64_t inodes = 0);

}  // namespace cfs
