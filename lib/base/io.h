// SPDX-License-Identifier: Apache-2.0
// File system calls: retried on EINTR, completed on short counts, always O_CLOEXEC, with the name
// of the file in the error.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/bytes.h"
#include "lib/base/result.h"
#include "lib/base/temporary_directory.h"
#include "lib/base/unique_fd.h"

namespace cfs {

/// openat(2) with O_CLOEXEC added. Follows symlinks unless `flags` has O_NOFOLLOW.
[[nodiscard]] Result<UniqueFd> open_at(int dir_fd, const std::string& path, int flags,
                                       mode_t mode = 0);

/// Opens `path`, which comes from an image, an archive or a repository, below `dir_fd`: refuses
/// symlinks, `..` that leaves the directory, and magic links. Spec: openat2(2), RESOLVE_BENEATH.
[[nodiscard]] Result<UniqueFd> open_beneath(int dir_fd, const std::string& path, int flags,
                                            mode_t mode = 0);

/// As the two above, for reading a file that somebody else may have put there: kInvalidInput for
/// anything but a regular file, without waiting for the other end of a FIFO.
[[nodiscard]] Result<UniqueFd> open_regular_at(int dir_fd, const std::string& path, int flags = 0);
[[nodiscard]] Result<UniqueFd> open_regular_beneath(int dir_fd, const std::string& path,
                                                    int flags = 0);

/// read(2): at least one byte unless the file has ended, then 0.
[[nodiscard]] Result<size_t> read_some(int fd, std::span<std::byte> buffer);
/// Reads until `buffer` is full or the end of the file. Returns the number of bytes read.
[[nodiscard]] Result<size_t> read_full(int fd, std::span<std::byte> buffer);
[[nodiscard]] Result<size_t> pread_full(int fd, std::span<std::byte> buffer, uint64_t offset);

/// Writes all of `bytes`.
[[nodiscard]] Result<> write_full(int fd, Bytes bytes);
[[nodiscard]] Result<> pwrite_full(int fd, Bytes bytes, uint64_t offset);

/// Whose fault it is that a file is too large to be read.
enum class Maker {
  kUser,  ///< what a user wrote or named: kInvalidInput
  kCfs,   ///< what cfs made and never makes so large: kCorrupt
};

/// The whole content of a file. kInvalidInput or kCorrupt when it is larger than `limit_bytes`.
[[nodiscard]] Result<std::string> read_file(int dir_fd, const std::string& path, size_t limit_bytes,
                                            Maker maker = Maker::kUser);
[[nodiscard]] Result<std::string> read_fd(int fd, size_t limit_bytes, Maker maker = Maker::kUser);

[[nodiscard]] Result<struct stat> fstat_fd(int fd);
/// fstatat(2); `flags` as AT_SYMLINK_NOFOLLOW.
[[nodiscard]] Result<struct stat> stat_at(int dir_fd, const std::string& path, int flags);

/// Creates `path` and its missing parents. Existing directories are fine.
[[nodiscard]] Result<> make_directories(int dir_fd, const std::string& path, mode_t mode = 0755);

/// Names in a directory, sorted by bytes, without `.` and `..`. `dir_fd` stays usable.
[[nodiscard]] Result<std::vector<std::string>> list_directory(int dir_fd, const std::string& path);

[[nodiscard]] Result<> fsync_fd(int fd);
/// fsync of a directory, so that names made in it survive a power cut.
[[nodiscard]] Result<> fsync_directory(int dir_fd, const std::string& path);
/// syncfs(2) of the file system that holds `fd`.
[[nodiscard]] Result<> sync_filesystem(int fd);

[[nodiscard]] Result<> rename_at(int old_dir_fd, const std::string& old_path, int new_dir_fd,
                                 const std::string& new_path);
/// unlinkat(2). A missing file is fine.
[[nodiscard]] Result<> remove_file(int dir_fd, const std::string& path);
/// Removes a directory tree without following symlinks. A missing one is fine.
[[nodiscard]] Result<> remove_tree(int dir_fd, const std::string& path);

}  // namespace cfs
