// SPDX-License-Identifier: Apache-2.0
//
// openat2(2) is the one call that resolves a path beneath a directory. What has no such form
// (mkdirat, unlinkat, renameat, symlinkat, readlinkat, fstatat) gets the parent directory opened
// that way, and a plain name in it: those calls do not follow a symlink in the last place.
#include "lib/base/directory.h"

#include <limits.h>
#include <unistd.h>

#include <cerrno>

#include "lib/base/io.h"
#include "lib/base/relative_path.h"
#include "lib/base/work_directory.h"

namespace cfs {
namespace {

Error refuse(const std::string& path, const std::string& why) {
  return make_error(ErrorCode::kInvalidInput, "'" + path + "' " + why);
}

Result<UniqueFd> open_in(int dir_fd, const std::string& path, int flags, mode_t mode = 0) {
  Result<UniqueFd> opened = open_beneath(dir_fd, path, flags, mode);
  if (opened) return opened;
  switch (opened.error().sys_errno) {
    case ELOOP:
      return refuse(path, "is a symlink or leads through one, which is not followed here");
    case EXDEV:
      return refuse(path, "leads out of its directory");
    case ENOTDIR:
      return refuse(path, (flags & O_DIRECTORY) != 0 ? "is not a directory"
                                                     : "leads through what is not a directory");
    default:
      return opened;
  }
}

Result<UniqueFd> open_directory_in(int dir_fd, const std::string& path, int flags) {
  if (path != "." && !is_plain_path(path)) return refuse(path, "is not a plain relative path");
  return open_in(dir_fd, path, flags | O_DIRECTORY);
}

/// Where a name stands.
struct Place {
  UniqueFd parent;
  std::string name;
};

Result<Place> find_place(int dir_fd, const std::string& path) {
  if (!is_plain_path(path)) return refuse(path, "is not a plain relative path");
  SplitPath parts = split_path(path);
  UniqueFd parent = CFS_TRY(open_directory_in(dir_fd, parts.directory, O_PATH));
  return Place{std::move(parent), std::move(parts.name)};
}

Result<> require_regular(const struct stat& status, const std::string& path) {
  if (S_ISREG(status.st_mode)) return {};
  if (S_ISLNK(status.st_mode)) return refuse(path, "is a symlink, which is not followed here");
  return refuse(path, "is not a regular file");
}

}  // namespace

Result<Directory> Directory::open(int dir_fd, const std::string& path) {
  return Directory(CFS_TRY(open_at(dir_fd, path, O_RDONLY | O_DIRECTORY)));
}

Result<Directory> Directory::open_directory(const std::string& path) const {
  return Directory(CFS_TRY(open_directory_in(fd(), path, O_RDONLY)));
}

Result<UniqueFd> Directory::open_file(const std::string& path, int flags, mode_t mode) const {
  Place place = CFS_TRY(find_place(fd(), path));
  // Opening a device can do something, so it is looked at first; and once more when it is open.
  Result<struct stat> before = stat_at(place.parent.get(), place.name, AT_SYMLINK_NOFOLLOW);
  if (before) CFS_TRY(require_regular(*before, path));
  UniqueFd file =
      CFS_TRY(open_in(place.parent.get(), place.name, flags | O_NONBLOCK | O_NOCTTY, mode));
  CFS_TRY(require_regular(CFS_TRY(fstat_fd(file.get())), path));
  return file;
}

Result<std::string> Directory::read_file(const std::string& path, size_t limit_bytes) const {
  UniqueFd file = CFS_TRY(open_file(path));
  return CFS_TRY_WITH("while reading '" + path + "'",
                      read_fd(file.get(), limit_bytes, Maker::kCfs));
}

Result<struct stat> Directory::stat(const std::string& path) const {
  if (path == ".") return fstat_fd(fd());
  Place place = CFS_TRY(find_place(fd(), path));
  return stat_at(place.parent.get(), place.name, AT_SYMLINK_NOFOLLOW);
}

Result<bool> Directory::exists(const std::string& path) const {
  Result<struct stat> status = stat(path);
  if (status) return true;
  if (status.error().code == ErrorCode::kNotFound) return false;
  return std::move(status).error();
}

Result<std::string> Directory::read_link(const std::string& path) const {
  Place place = CFS_TRY(find_place(fd(), path));
  char target[PATH_MAX];
  ssize_t size = ::readlinkat(place.parent.get(), place.name.c_str(), target, sizeof(target));
  if (size < 0 && errno == EINVAL) return refuse(path, "is not a symlink");
  if (size < 0) return errno_error("cannot read the symlink '" + path + "'");
  return std::string(target, static_cast<size_t>(size));
}

// NOLINTNEXTLINE(misc-no-recursion): as deep as the tree
Result<uint64_t> Directory::disk_bytes(const std::string& path) const {
  constexpr uint64_t kBlockBytes = 512;  // Spec: stat(3type), st_blocks
  const struct stat status = CFS_TRY(stat(path));
  uint64_t bytes = static_cast<uint64_t>(status.st_blocks) * kBlockBytes;
  if (!S_ISDIR(status.st_mode)) return bytes;
  const Directory directory = CFS_TRY(open_directory(path));
  for (const std::string& name : CFS_TRY(directory.list())) {
    bytes += CFS_TRY(directory.disk_bytes(name));
  }
  return bytes;
}

Result<std::vector<std::string>> Directory::list(const std::string& path) const {
  Directory directory = CFS_TRY(open_directory(path));
  return CFS_TRY_WITH("while listing '" + path + "'", list_directory(directory.fd(), "."));
}

Result<> Directory::make_directories(const std::string& path, mode_t mode) const {
  if (!is_plain_path(path)) return refuse(path, "is not a plain relative path");
  UniqueFd parent = CFS_TRY(open_directory_in(fd(), ".", O_PATH));
  for (size_t start = 0; start <= path.size();) {
    size_t end = std::min(path.find('/', start), path.size());
    std::string name = path.substr(start, end - start);
    bool made = ::mkdirat(parent.get(), name.c_str(), mode & 0700) == 0;
    if (!made && errno != EEXIST) {
      return errno_error("cannot create directory '" + path.substr(0, end) + "'");
    }
    UniqueFd directory =
        CFS_TRY_WITH("while creating directory '" + path + "'",
                     open_directory_in(parent.get(), name, made ? O_RDONLY : O_PATH));
    if (made && ::fchmod(directory.get(), mode) != 0) {
      return errno_error("cannot chmod '" + path.substr(0, end) + "'");
    }
    parent = std::move(directory);
    start = end + 1;
  }
  return {};
}

Result<AtomicFile> Directory::create_file(const std::string& path, mode_t mode) const {
  Place place = CFS_TRY(find_place(fd(), path));
  return AtomicFile::create(place.parent.get(), place.name, mode);
}

Result<> Directory::write_file(const std::string& path, Bytes content, mode_t mode,
                               Existing existing) const {
  Place place = CFS_TRY(find_place(fd(), path));
  return write_file_atomically(place.parent.get(), place.name, content, mode, existing);
}

Result<> Directory::write_symlink(const std::string& path, const std::string& target) const {
  Place place = CFS_TRY(find_place(fd(), path));
  // Made in a directory that can be locked, which a symlink cannot.
  WorkDirectory work = CFS_TRY(WorkDirectory::create(place.parent.get(), ".", kTemporaryPrefix));
  constexpr const char* kName = "link";
  if (::symlinkat(target.c_str(), work.fd(), kName) != 0) {
    return errno_error("cannot make the symlink '" + path + "'");
  }
  CFS_TRY(rename_at(work.fd(), kName, place.parent.get(), place.name));
  return fsync_directory(place.parent.get(), ".");
}

Result<> Directory::rename(const std::string& from, const std::string& to) const {
  Place old_place = CFS_TRY(find_place(fd(), from));
  Place new_place = CFS_TRY(find_place(fd(), to));
  return rename_at(old_place.parent.get(), old_place.name, new_place.parent.get(), new_place.name);
}

Result<> Directory::remove_file(const std::string& path) const {
  Result<Place> place = find_place(fd(), path);
  if (!place && place.error().code == ErrorCode::kNotFound) return {};
  if (!place) return std::move(place).error();
  return cfs::remove_file(place->parent.get(), place->name);
}

Result<> Directory::remove_tree(const std::string& path) const {
  Result<Place> place = find_place(fd(), path);
  if (!place && place.error().code == ErrorCode::kNotFound) return {};
  if (!place) return std::move(place).error();
  return cfs::remove_tree(place->parent.get(), place->name);
}

Result<> Directory::remove_stale(const std::string& path) const {
  Result<Directory> directory = open_directory(path);
  if (!directory && directory.error().code == ErrorCode::kNotFound) return {};
  if (!directory) return std::move(directory).error();
  return TemporaryName::remove_stale(directory->fd(), kTemporaryPrefix);
}

Result<> Directory::sync(const std::string& path) const {
  Directory directory = CFS_TRY(open_directory(path));
  CFS_TRY_WITH("while syncing directory '" + path + "'", fsync_fd(directory.fd()));
  return {};
}

}  // namespace cfs
