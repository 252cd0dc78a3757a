// SPDX-License-Identifier: Apache-2.0
#include "lib/base/io.h"

#include <dirent.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <memory>

#include "lib/base/interrupt.h"

namespace cfs {
namespace {

/// A signal that asks us to stop (lib/base/interrupt.h) ends the call; any other repeats it.
template <typename Call>
auto retry(Call call) {
  decltype(call()) result;
  do {
    result = call();
  } while (result < 0 && errno == EINTR && !is_interrupted());
  return result;
}

std::string quoted(std::string_view path) { return "'" + std::string(path) + "'"; }

constexpr size_t kReadChunkBytes = 1 << 16;

}  // namespace

Result<UniqueFd> open_at(int dir_fd, const std::string& path, int flags, mode_t mode) {
  int fd = retry([&] { return ::openat(dir_fd, path.c_str(), flags | O_CLOEXEC, mode); });
  if (fd < 0) return errno_error("cannot open " + quoted(path));
  return UniqueFd(fd);
}

Result<UniqueFd> open_beneath(int dir_fd, const std::string& path, int flags, mode_t mode) {
  struct open_how how = {};
  how.flags = static_cast<__u64>(flags | O_CLOEXEC);
  how.mode = (flags & (O_CREAT | __O_TMPFILE)) != 0 ? mode : 0;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  long fd = retry([&] { return ::syscall(SYS_openat2, dir_fd, path.c_str(), &how, sizeof(how)); });
  if (fd < 0) return errno_error("cannot open " + quoted(path));
  return UniqueFd(static_cast<int>(fd));
}

namespace {

constexpr int kRegularFlags = O_RDONLY | O_NONBLOCK | O_NOCTTY;

/// Passes on `opened` when it is a regular file.
Result<UniqueFd> require_regular(Result<UniqueFd> opened, const std::string& path) {
  UniqueFd fd = CFS_TRY(std::move(opened));
  struct stat status = CFS_TRY(fstat_fd(fd.get()));
  if (!S_ISREG(status.st_mode)) {
    return make_error(ErrorCode::kInvalidInput, quoted(path) + " is not a regular file");
  }
  return fd;
}

}  // namespace

Result<UniqueFd> open_regular_at(int dir_fd, const std::string& path, int flags) {
  return require_regular(open_at(dir_fd, path, kRegularFlags | flags), path);
}

Result<UniqueFd> open_regular_beneath(int dir_fd, const std::string& path, int flags) {
  return require_regular(open_beneath(dir_fd, path, kRegularFlags | flags), path);
}

Result<size_t> read_some(int fd, std::span<std::byte> buffer) {
  ssize_t count = retry([&] { return ::read(fd, buffer.data(), buffer.size()); });
  if (count < 0) return errno_error("cannot read");
  return static_cast<size_t>(count);
}

Result<size_t> read_full(int fd, std::span<std::byte> buffer) {
  size_t done = 0;
  while (done < buffer.size()) {
    size_t count = CFS_TRY(read_some(fd, buffer.subspan(done)));
    if (count == 0) break;
    done += count;
  }
  return done;
}

Result<size_t> pread_full(int fd, std::span<std::byte> buffer, uint64_t offset) {
  size_t done = 0;
  while (done < buffer.size()) {
    ssize_t count = retry([&] {
      return ::pread(fd, buffer.data() + done, buffer.size() - done,
                     static_cast<off_t>(offset + done));
    });
    if (count < 0) return errno_error("cannot read");
    if (count == 0) break;
    done += static_cast<size_t>(count);
  }
  return done;
}

Result<> write_full(int fd, Bytes bytes) {
  while (!bytes.empty()) {
    ssize_t count = retry([&] { return ::write(fd, bytes.data(), bytes.size()); });
    if (count < 0) return errno_error("cannot write");
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
  return {};
}

Result<> pwrite_full(int fd, Bytes bytes, uint64_t offset) {
  while (!bytes.empty()) {
    ssize_t count =
        retry([&] { return ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset)); });
    if (count < 0) return errno_error("cannot write");
    bytes = bytes.subspan(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
  return {};
}

Result<std::string> read_fd(int fd, size_t limit_bytes, Maker maker) {
  std::string content;
  for (;;) {
    size_t old_size = content.size();
    size_t chunk = std::min(kReadChunkBytes, limit_bytes - old_size + 1);
    content.resize(old_size + chunk);
    size_t count =
        CFS_TRY(read_full(fd, std::as_writable_bytes(std::span(content)).subspan(old_size, chunk)));
    content.resize(old_size + count);
    if (content.size() > limit_bytes) {
      return make_error(maker == Maker::kCfs ? ErrorCode::kCorrupt : ErrorCode::kInvalidInput,
                        "file is larger than " + std::to_string(limit_bytes) + " bytes");
    }
    if (count < chunk) return content;
  }
}

Result<std::string> read_file(int dir_fd, const std::string& path, size_t limit_bytes,
                              Maker maker) {
  UniqueFd fd = CFS_TRY(open_at(dir_fd, path, O_RDONLY));
  return CFS_TRY_WITH("while reading " + quoted(path), read_fd(fd.get(), limit_bytes, maker));
}

Result<struct stat> fstat_fd(int fd) {
  struct stat status = {};
  if (::fstat(fd, &status) != 0) return errno_error("cannot stat");
  return status;
}

Result<struct stat> stat_at(int dir_fd, const std::string& path, int flags) {
  struct stat status = {};
  if (::fstatat(dir_fd, path.c_str(), &status, flags) != 0) {
    return errno_error("cannot stat " + quoted(path));
  }
  return status;
}

Result<> make_directories(int dir_fd, const std::string& path, mode_t mode) {
  if (path.empty() || path == "." || path == "/") return {};
  if (::mkdirat(dir_fd, path.c_str(), mode) == 0) return {};
  if (errno == ENOENT) {
    size_t slash = path.find_last_of('/');
    if (slash == std::string::npos || slash == 0)
      return errno_error("cannot create " + quoted(path), ENOENT);
    CFS_TRY(make_directories(dir_fd, path.substr(0, slash), mode));
    if (::mkdirat(dir_fd, path.c_str(), mode) == 0) return {};
  }
  if (errno == EEXIST) {
    struct stat status = CFS_TRY(stat_at(dir_fd, path, 0));
    if (S_ISDIR(status.st_mode)) return {};
    return errno_error("cannot create directory " + quoted(path), ENOTDIR);
  }
  return errno_error("cannot create directory " + quoted(path));
}

Result<std::vector<std::string>> list_directory(int dir_fd, const std::string& path) {
  UniqueFd fd = CFS_TRY(open_at(dir_fd, path, O_RDONLY | O_DIRECTORY));
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::fdopendir(fd.get()), ::closedir);
  if (!dir) return errno_error("cannot list " + quoted(path));
  (void)fd.release();  // closedir owns it now
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(dir.get());  // NOLINT(concurrency-mt-unsafe): a stream of ours
    if (entry == nullptr) {
      if (errno != 0) return errno_error("cannot list " + quoted(path));
      break;
    }
    std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

Result<> fsync_fd(int fd) {
  if (retry([&] { return ::fsync(fd); }) != 0) return errno_error("cannot fsync");
  return {};
}

Result<> fsync_directory(int dir_fd, const std::string& path) {
  UniqueFd fd = CFS_TRY(open_at(dir_fd, path, O_RDONLY | O_DIRECTORY));
  CFS_TRY_WITH("while syncing directory " + quoted(path), fsync_fd(fd.get()));
  return {};
}

Result<> sync_filesystem(int fd) {
  if (retry([&] { return ::syncfs(fd); }) != 0) return errno_error("cannot sync the file system");
  return {};
}

Result<> rename_at(int old_dir_fd, const std::string& old_path, int new_dir_fd,
                   const std::string& new_path) {
  if (::renameat(old_dir_fd, old_path.c_str(), new_dir_fd, new_path.c_str()) != 0) {
    return errno_error("cannot rename " + quoted(old_path) + " to " + quoted(new_path));
  }
  return {};
}

Result<> remove_file(int dir_fd, const std::string& path) {
  if (::unlinkat(dir_fd, path.c_str(), 0) != 0 && errno != ENOENT) {
    return errno_error("cannot remove " + quoted(path));
  }
  return {};
}

Result<> remove_tree(int dir_fd, const std::string& path) {
  if (::unlinkat(dir_fd, path.c_str(), 0) == 0 || errno == ENOENT) return {};
  if (errno != EISDIR && errno != EPERM) return errno_error("cannot remove " + quoted(path));
  UniqueFd dir = CFS_TRY(open_at(dir_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  std::vector<std::string> names = CFS_TRY(list_directory(dir.get(), "."));
  for (const std::string& name : names) CFS_TRY(remove_tree(dir.get(), name));
  if (::unlinkat(dir_fd, path.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
    return errno_error("cannot remove " + quoted(path));
  }
  return {};
}

}  // namespace cfs
