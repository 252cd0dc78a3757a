// SPDX-License-Identifier: Apache-2.0
#include "initramfs/file_tree.h"

#include <limits.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <optional>
#include <string_view>

#include "lib/base/io.h"

namespace cfs::initramfs {
namespace {

constexpr unsigned kMaxDepth = 64;
constexpr mode_t kPermissions = 07777;
constexpr size_t kBufferBytes = 64 << 10;
constexpr std::string_view kOverlayPrefix = "trusted.overlay.";
constexpr std::string_view kOpaque = "trusted.overlay.opaque";

using Xattrs = std::map<std::string, std::string>;

// Of a regular file or a directory. What overlayfs notes for itself is left out.
Result<Xattrs> xattrs_of(int fd, const std::string& name) {
  std::string names(XATTR_LIST_MAX, '\0');
  ssize_t size = ::flistxattr(fd, names.data(), names.size());
  if (size < 0) {
    if (errno == EOPNOTSUPP) return Xattrs();
    return errno_error("cannot list the extended attributes of '" + name + "'");
  }
  names.resize(static_cast<size_t>(size));
  Xattrs result;
  std::string value(XATTR_SIZE_MAX, '\0');
  for (std::string_view left = names; !left.empty();) {
    std::string key(left.substr(0, left.find('\0')));
    left.remove_prefix(std::min(left.size(), key.size() + 1));
    if (std::string_view(key).starts_with(kOverlayPrefix)) continue;
    ssize_t count = ::fgetxattr(fd, key.c_str(), value.data(), value.size());
    if (count < 0) return errno_error("cannot read '" + key + "' of '" + name + "'");
    result[key] = value.substr(0, static_cast<size_t>(count));
  }
  return result;
}

bool is_opaque(int fd) {
  char value = 0;
  return ::fgetxattr(fd, std::string(kOpaque).c_str(), &value, 1) == 1 && value == 'y';
}

// A file system that cannot keep an attribute keeps the rest: memory, where there is no disk.
Result<> set_xattr(int fd, const std::string& name, const std::string& key,
                   const std::string& value) {
  if (::fsetxattr(fd, key.c_str(), value.data(), value.size(), 0) != 0 && errno != EOPNOTSUPP) {
    return errno_error("cannot set '" + key + "' of '" + name + "'");
  }
  return {};
}

// Of a file that is open. The owner comes first, since its change takes set-user-ID bits and
// capabilities away, and the mode before the attributes, among which are access lists.
Result<> set_attributes(int fd, const std::string& name, const struct stat& status,
                        const Xattrs& xattrs) {
  if (::fchown(fd, status.st_uid, status.st_gid) != 0 ||
      ::fchmod(fd, status.st_mode & kPermissions) != 0) {
    return errno_error("cannot change owner and mode of '" + name + "'");
  }
  for (const auto& [key, value] : xattrs) CFS_TRY(set_xattr(fd, name, key, value));
  return {};
}

Result<> set_times(int fd, const std::string& name, const struct stat& status) {
  const std::array<timespec, 2> times = {status.st_mtim, status.st_mtim};
  if (::futimens(fd, times.data()) != 0) return errno_error("cannot set times of '" + name + "'");
  return {};
}

Result<std::string> read_link(int dir_fd, const std::string& name) {
  std::string target(PATH_MAX, '\0');
  ssize_t size = ::readlinkat(dir_fd, name.c_str(), target.data(), target.size());
  if (size < 0) return errno_error("cannot read the link '" + name + "'");
  target.resize(static_cast<size_t>(size));
  return target;
}

Result<UniqueFd> open_file(int dir_fd, const std::string& name) {
  return open_regular_at(dir_fd, name, O_NOFOLLOW);
}

Result<UniqueFd> open_directory(int dir_fd, const std::string& name) {
  return open_at(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

Result<> copy_content(int from_fd, int to_fd) {
  std::array<std::byte, kBufferBytes> buffer;
  while (size_t count = CFS_TRY(read_some(from_fd, buffer))) {
    CFS_TRY(write_full(to_fd, Bytes(buffer).first(count)));
  }
  return {};
}

Result<bool> is_directory(int dir_fd, const std::string& name) {
  Result<struct stat> status = stat_at(dir_fd, name, AT_SYMLINK_NOFOLLOW);
  if (status) return S_ISDIR(status->st_mode);
  if (status.error().code == ErrorCode::kNotFound) return false;
  return Error(std::move(status).error());
}

Error nested_too_deep(const std::string& name) {
  return make_error(ErrorCode::kCorrupt, "directories are nested too deep at '" + name + "'");
}

class Copier {
 public:
  explicit Copier(CopyInto into) : into_(into) {}

  // NOLINTNEXTLINE(misc-no-recursion): kMaxDepth
  Result<> entry(int from_fd, const std::string& from, int to_fd, const std::string& to) {
    struct stat status = CFS_TRY(stat_at(from_fd, from, AT_SYMLINK_NOFOLLOW));
    if (S_ISDIR(status.st_mode)) {
      UniqueFd source = CFS_TRY(open_directory(from_fd, from));
      const bool is_merged = into_ == CopyInto::kTreeBelow && !is_opaque(source.get()) &&
                             CFS_TRY(is_directory(to_fd, to));
      if (into_ == CopyInto::kTreeBelow && !is_merged) CFS_TRY(remove_tree(to_fd, to));
      if (!is_merged && ::mkdirat(to_fd, to.c_str(), 0700) != 0) {
        return errno_error("cannot make '" + to + "'");
      }
      UniqueFd copy = CFS_TRY(open_directory(to_fd, to));
      return directory(source.get(), copy.get(), from);
    }
    if (into_ == CopyInto::kTreeBelow) CFS_TRY(remove_tree(to_fd, to));
    if (S_ISREG(status.st_mode)) {
      UniqueFd source = CFS_TRY(open_file(from_fd, from));
      UniqueFd copy = CFS_TRY(open_at(to_fd, to, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
      CFS_TRY_WITH("while copying '" + from + "'", copy_content(source.get(), copy.get()));
      CFS_TRY(set_attributes(copy.get(), to, status, CFS_TRY(xattrs_of(source.get(), from))));
      return set_times(copy.get(), to, status);
    }
    if (S_ISLNK(status.st_mode)) {
      if (::symlinkat(CFS_TRY(read_link(from_fd, from)).c_str(), to_fd, to.c_str()) != 0) {
        return errno_error("cannot make the link '" + to + "'");
      }
    } else {
      bool is_mark = S_ISCHR(status.st_mode) && status.st_rdev == 0;  // of something removed
      if (is_mark && into_ != CopyInto::kLayer) return {};
      if (::mknodat(to_fd, to.c_str(), status.st_mode, status.st_rdev) != 0) {
        return errno_error("cannot make '" + to + "'");
      }
      if (is_mark) return {};
      if (::fchmodat(to_fd, to.c_str(), status.st_mode & kPermissions, 0) != 0) {
        return errno_error("cannot change the mode of '" + to + "'");
      }
    }
    if (::fchownat(to_fd, to.c_str(), status.st_uid, status.st_gid, AT_SYMLINK_NOFOLLOW) != 0) {
      return errno_error("cannot change the owner of '" + to + "'");
    }
    return {};
  }

  // NOLINTNEXTLINE(misc-no-recursion): kMaxDepth
  Result<> directory(int from_fd, int to_fd, const std::string& name) {
    if (++depth_ > kMaxDepth) return nested_too_deep(name);
    for (const std::string& child : CFS_TRY(list_directory(from_fd, "."))) {
      CFS_TRY_WITH("in '" + name + "'", entry(from_fd, child, to_fd, child));
    }
    --depth_;
    struct stat status = CFS_TRY(fstat_fd(from_fd));
    CFS_TRY(set_attributes(to_fd, name, status, CFS_TRY(xattrs_of(from_fd, name))));
    if (into_ == CopyInto::kLayer && is_opaque(from_fd)) {
      CFS_TRY(set_xattr(to_fd, name, std::string(kOpaque), "y"));
    }
    return set_times(to_fd, name, status);
  }

 private:
  CopyInto into_;
  unsigned depth_ = 0;
};

Result<bool> has_same_content(int one_fd, int other_fd) {
  std::array<std::byte, kBufferBytes> one;
  std::array<std::byte, kBufferBytes> other;
  for (;;) {
    size_t count = CFS_TRY(read_full(one_fd, one));
    if (CFS_TRY(read_full(other_fd, other)) != count) return false;
    if (!std::equal(one.begin(), one.begin() + static_cast<ptrdiff_t>(count), other.begin())) {
      return false;
    }
    if (count < one.size()) return true;
  }
}

bool is_alike(const struct stat& one, const struct stat& other) {
  return one.st_mode == other.st_mode && one.st_uid == other.st_uid && one.st_gid == other.st_gid;
}

Result<std::optional<struct stat>> look(int dir_fd, const std::string& name) {
  Result<struct stat> status = stat_at(dir_fd, name, AT_SYMLINK_NOFOLLOW);
  if (status) return std::optional(*status);
  if (status.error().code == ErrorCode::kNotFound) return std::optional<struct stat>();
  return Error(std::move(status).error());
}

// NOLINTNEXTLINE(misc-no-recursion): kMaxDepth
Result<bool> is_same(int one_fd, const std::string& one_name, int other_fd,
                     const std::string& other_name, unsigned depth) {
  if (depth > kMaxDepth) return nested_too_deep(one_name);
  std::optional<struct stat> one = CFS_TRY(look(one_fd, one_name));
  std::optional<struct stat> other = CFS_TRY(look(other_fd, other_name));
  if (!one || !other) return one.has_value() == other.has_value();
  if (!is_alike(*one, *other)) return false;
  if (S_ISLNK(one->st_mode)) {
    return CFS_TRY(read_link(one_fd, one_name)) == CFS_TRY(read_link(other_fd, other_name));
  }
  if (S_ISREG(one->st_mode)) {
    if (one->st_size != other->st_size) return false;
    UniqueFd one_file = CFS_TRY(open_file(one_fd, one_name));
    UniqueFd other_file = CFS_TRY(open_file(other_fd, other_name));
    if (!CFS_TRY(has_same_attributes(one_file.get(), other_file.get()))) return false;
    return has_same_content(one_file.get(), other_file.get());
  }
  if (!S_ISDIR(one->st_mode)) return one->st_rdev == other->st_rdev;
  UniqueFd one_directory = CFS_TRY(open_directory(one_fd, one_name));
  UniqueFd other_directory = CFS_TRY(open_directory(other_fd, other_name));
  if (!CFS_TRY(has_same_attributes(one_directory.get(), other_directory.get()))) return false;
  std::vector<std::string> names = CFS_TRY(list_directory(one_directory.get(), "."));
  if (CFS_TRY(list_directory(other_directory.get(), ".")) != names) return false;
  for (const std::string& name : names) {
    if (!CFS_TRY(is_same(one_directory.get(), name, other_directory.get(), name, depth + 1))) {
      return false;
    }
  }
  return true;
}

}  // namespace

Result<> copy_entry(int from_fd, const std::string& from_name, int to_fd,
                    const std::string& to_name, CopyInto into) {
  return Copier(into).entry(from_fd, from_name, to_fd, to_name);
}

Result<> copy_directory(int from_fd, int to_fd, CopyInto into) {
  return Copier(into).directory(from_fd, to_fd, ".");
}

Result<> make_opaque(int dir_fd, const std::string& name) {
  UniqueFd directory = CFS_TRY(open_directory(dir_fd, name));
  return set_xattr(directory.get(), name, std::string(kOpaque), "y");
}

Result<bool> shows_lower(int layer_fd, const std::string& path) {
  for (size_t end = 0; path != "." && end < path.size(); ++end) {
    end = std::min(path.find('/', end), path.size());
    Result<UniqueFd> opened =
        open_beneath(layer_fd, path.substr(0, end), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (opened && is_opaque(opened->get())) return false;
    if (opened) continue;
    const int why = opened.error().sys_errno;
    if (why == ENOENT) return true;
    if (why == ENOTDIR || why == ELOOP) return false;
    return Error(std::move(opened).error());
  }
  return true;
}

Result<> set_attributes_of(int from_fd, int to_fd) {
  Xattrs wanted = CFS_TRY(xattrs_of(from_fd, "."));
  std::vector<std::string> surplus = {std::string(kOpaque)};
  for (const auto& [key, value] : CFS_TRY(xattrs_of(to_fd, "."))) {
    if (!wanted.contains(key)) surplus.push_back(key);
  }
  for (const std::string& key : surplus) {
    if (::fremovexattr(to_fd, key.c_str()) != 0 && errno != ENODATA && errno != EOPNOTSUPP &&
        errno != EPERM) {
      return errno_error("cannot remove the extended attribute '" + key + "'");
    }
  }
  return set_attributes(to_fd, ".", CFS_TRY(fstat_fd(from_fd)), wanted);
}

Result<bool> is_same_entry(int one_fd, const std::string& one_name, int other_fd,
                           const std::string& other_name) {
  return is_same(one_fd, one_name, other_fd, other_name, 0);
}

Result<bool> has_same_attributes(int one_fd, int other_fd) {
  if (!is_alike(CFS_TRY(fstat_fd(one_fd)), CFS_TRY(fstat_fd(other_fd)))) return false;
  return CFS_TRY(xattrs_of(one_fd, ".")) == CFS_TRY(xattrs_of(other_fd, "."));
}

}  // namespace cfs::initramfs
