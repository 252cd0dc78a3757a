// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <string>
#include <utility>
#include <vector>

#include "lib/base/atomic_file.h"
#include "lib/base/bytes.h"
#include "lib/base/result.h"
#include "lib/base/unique_fd.h"

namespace cfs {

/// A directory below which nothing leads elsewhere: every path is resolved by the kernel with
/// RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS (openat2(2)). For directories in which somebody else may
/// have put things: the sysroot of a device, an object store, a repository. Whatever lies there, no
/// method reads, changes or removes anything outside.
///
/// Paths are plain (relative_path.h); "." is the directory itself where a method says so.
/// Errors of all methods: kInvalidInput (a path that is not plain, that leads through a symlink, or
/// that means another kind of file than the method is for), besides those of the system call.
/// Thread-safe.
class Directory {
 public:
  /// The caller vouches for `path` itself: symlinks in it are followed.
  [[nodiscard]] static Result<Directory> open(int dir_fd, const std::string& path);
  explicit Directory(UniqueFd fd) : fd_(std::move(fd)) {}

  [[nodiscard]] int fd() const { return fd_.get(); }

  /// A directory below this one, or "." once more.
  [[nodiscard]] Result<Directory> open_directory(const std::string& path) const;

  /// Opens a regular file; anything else, a FIFO or a device, is refused without being opened.
  [[nodiscard]] Result<UniqueFd> open_file(const std::string& path, int flags = O_RDONLY,
                                           mode_t mode = 0) const;
  /// The whole content of a regular file. Errors: kCorrupt when larger than `limit_bytes`.
  [[nodiscard]] Result<std::string> read_file(const std::string& path, size_t limit_bytes) const;

  /// What `path` is; of a symlink itself.
  [[nodiscard]] Result<struct stat> stat(const std::string& path) const;
  /// Returns true if there is anything of that name.
  [[nodiscard]] Result<bool> exists(const std::string& path) const;
  /// The target of a symlink. Errors: kInvalidInput (not a symlink).
  [[nodiscard]] Result<std::string> read_link(const std::string& path) const;
  /// The blocks that are allocated to whatever it is, with all it holds.
  [[nodiscard]] Result<uint64_t> disk_bytes(const std::string& path) const;
  /// Names in a directory ("." too), sorted by bytes.
  [[nodiscard]] Result<std::vector<std::string>> list(const std::string& path = ".") const;

  /// Creates a directory and its missing parents, each with exactly `mode`, whatever the umask.
  /// Those that are there stay as they are.
  [[nodiscard]] Result<> make_directories(const std::string& path, mode_t mode) const;

  /// As AtomicFile::create() and write_file_atomically(), which see.
  [[nodiscard]] Result<AtomicFile> create_file(const std::string& path, mode_t mode) const;
  [[nodiscard]] Result<> write_file(const std::string& path, Bytes content, mode_t mode,
                                    Existing existing = Existing::kReplace) const;
  /// Makes or replaces a symlink in one step, and makes that durable.
  [[nodiscard]] Result<> write_symlink(const std::string& path, const std::string& target) const;

  /// rename(2). Not synced.
  [[nodiscard]] Result<> rename(const std::string& from, const std::string& to) const;
  /// Removes what is not a directory; a missing one is fine. Not synced.
  [[nodiscard]] Result<> remove_file(const std::string& path) const;
  /// Removes whatever it is, with all it holds; a missing one is fine. Not synced.
  [[nodiscard]] Result<> remove_tree(const std::string& path) const;
  /// Removes what killed processes have left in a directory ("." too) under a temporary name:
  /// TemporaryName::remove_stale() with kTemporaryPrefix. A missing directory is fine.
  [[nodiscard]] Result<> remove_stale(const std::string& path = ".") const;

  /// fsync of a directory ("." too), so that names made in it survive a power cut.
  [[nodiscard]] Result<> sync(const std::string& path = ".") const;

 private:
  UniqueFd fd_;
};

}  // namespace cfs
