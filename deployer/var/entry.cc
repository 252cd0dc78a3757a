// SPDX-License-Identifier: Apache-2.0
//
// Calls that take a directory and a plain name in it do not follow a symlink in that place; the
// directory is opened by Directory, which follows none either. Extended attributes have no such
// call: they are reached through the directory's link in /proc/self/fd.
#include "deployer/var/entry.h"

#include <limits.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/base/relative_path.h"
#include "lib/verity/sha256.h"

namespace cfs::deployer {
namespace {

constexpr mode_t kPermissions = 07777;
constexpr size_t kBufferBytes = 128 << 10;
constexpr unsigned kMaxDepth = 128;
/// Labels are the policy's of the machine: neither shipped nor compared.
constexpr std::string_view kLabel = "security.selinux";

/// A plain name in an open directory, or "." for the directory itself.
struct Place {
  Directory parent;
  std::string name;

  [[nodiscard]] int fd() const { return parent.fd(); }
  [[nodiscard]] std::string proc_path() const {
    return "/proc/self/fd/" + std::to_string(fd()) + "/" + name;
  }
};

Result<Place> place_of(const Directory& directory, const std::string& path) {
  if (path == ".") return Place{CFS_TRY(directory.open_directory(".")), "."};
  SplitPath parts = split_path(path);
  return Place{CFS_TRY(directory.open_directory(parts.directory)), std::move(parts.name)};
}

Result<std::map<std::string, std::string>> xattrs_of(const Place& place) {
  const std::string path = place.proc_path();
  std::string names(XATTR_LIST_MAX, '\0');
  ssize_t size = ::llistxattr(path.c_str(), names.data(), names.size());
  std::map<std::string, std::string> xattrs;
  if (size < 0 && errno == EOPNOTSUPP) return xattrs;
  if (size < 0) return errno_error("cannot list extended attributes of '" + place.name + "'");
  names.resize(static_cast<size_t>(size));
  std::string value(XATTR_SIZE_MAX, '\0');
  for (std::string_view left = names; !left.empty();) {
    const std::string key(left.substr(0, left.find('\0')));
    left.remove_prefix(std::min(left.size(), key.size() + 1));
    if (key == kLabel) continue;
    ssize_t count = ::lgetxattr(path.c_str(), key.c_str(), value.data(), value.size());
    if (count < 0) return errno_error("cannot read '" + key + "' of '" + place.name + "'");
    xattrs[key] = value.substr(0, static_cast<size_t>(count));
  }
  return xattrs;
}

Result<> set_xattrs(const Place& place, const std::map<std::string, std::string>& wanted) {
  const std::string path = place.proc_path();
  for (const auto& [key, value] : CFS_TRY(xattrs_of(place))) {
    if (!wanted.contains(key) && ::lremovexattr(path.c_str(), key.c_str()) != 0) {
      return errno_error("cannot remove '" + key + "' of '" + place.name + "'");
    }
  }
  for (const auto& [key, value] : wanted) {
    if (::lsetxattr(path.c_str(), key.c_str(), value.data(), value.size(), 0) != 0) {
      return errno_error("cannot set '" + key + "' of '" + place.name + "'");
    }
  }
  return {};
}

Result<> set_attributes(const Place& place, const Entry& entry) {
  const struct stat& status = entry.status;
  if (::fchownat(place.fd(), place.name.c_str(), status.st_uid, status.st_gid,
                 AT_SYMLINK_NOFOLLOW) != 0) {
    return errno_error("cannot change the owner of '" + place.name + "'");
  }
  // After the owner, whose change takes set-user-ID bits away.
  if (!S_ISLNK(status.st_mode) &&
      ::fchmodat(place.fd(), place.name.c_str(), status.st_mode & kPermissions, 0) != 0) {
    return errno_error("cannot change the mode of '" + place.name + "'");
  }
  // And after both: a change of owner takes capabilities away, one of mode rewrites access lists.
  return set_xattrs(place, entry.xattrs);
}

Result<> set_times(const Place& place, const Entry& entry) {
  const std::array<timespec, 2> times = {entry.status.st_mtim, entry.status.st_mtim};
  if (::utimensat(place.fd(), place.name.c_str(), times.data(), AT_SYMLINK_NOFOLLOW) != 0) {
    return errno_error("cannot set the times of '" + place.name + "'");
  }
  return {};
}

/// Everything in one stream of bytes that cannot be cut into parts in two ways.
class Hasher {
 public:
  void number(uint64_t value) { text(std::to_string(value)); }
  void text(std::string_view value) {
    const std::string size = std::to_string(value.size()) + ":";
    hasher_.update(as_bytes(size));
    hasher_.update(as_bytes(value));
  }
  void raw(Bytes bytes) { hasher_.update(bytes); }
  [[nodiscard]] Fingerprint finish() { return hasher_.finish(); }

 private:
  verity::Sha256Hasher hasher_;
};

/// Calls visit(bytes) with the content of a file, piece by piece.
template <typename Visit>
Result<> read_pieces(int fd, Visit visit) {
  std::vector<std::byte> buffer(kBufferBytes);
  while (size_t count = CFS_TRY(read_some(fd, buffer))) {
    CFS_TRY(check_interrupted());
    CFS_TRY(visit(Bytes(buffer).first(count)));
  }
  return {};
}

Result<Fingerprint> fingerprint_of(const Place& place, const Entry& entry) {
  const struct stat& status = entry.status;
  Hasher hasher;
  hasher.number(status.st_mode & (S_IFMT | kPermissions));
  hasher.number(status.st_uid);
  hasher.number(status.st_gid);
  bool is_device = S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode);
  hasher.number(is_device ? status.st_rdev : 0);
  hasher.text(entry.target);
  hasher.number(entry.xattrs.size());
  for (const auto& [key, value] : entry.xattrs) {
    hasher.text(key);
    hasher.text(value);
  }
  if (S_ISREG(status.st_mode)) {
    UniqueFd file = CFS_TRY(place.parent.open_file(place.name));
    CFS_TRY(read_pieces(file.get(), [&](Bytes bytes) -> Result<> {
      hasher.raw(bytes);
      return {};
    }));
  }
  return hasher.finish();
}

// NOLINTNEXTLINE(misc-no-recursion): kMaxDepth
Result<> add_paths(const Directory& directory, const std::string& prefix, unsigned depth,
                   std::vector<std::string>& paths) {
  if (depth > kMaxDepth) {
    return make_error(ErrorCode::kCorrupt, "directories are nested too deep at '" + prefix + "'");
  }
  for (const std::string& name : CFS_TRY(directory.list())) {
    paths.push_back(prefix + name);
    if (S_ISDIR(CFS_TRY(directory.stat(name)).st_mode)) {
      CFS_TRY(add_paths(CFS_TRY(directory.open_directory(name)), prefix + name + "/", depth + 1,
                        paths));
    }
  }
  return {};
}

}  // namespace

Result<std::optional<Entry>> look_at(const Directory& directory, const std::string& path) {
  Result<Place> place = place_of(directory, path);
  auto is_not_there = [](const Error& error) {
    return error.code == ErrorCode::kNotFound || error.code == ErrorCode::kInvalidInput;
  };
  if (!place && is_not_there(place.error())) return std::optional<Entry>();
  if (!place) return Error(std::move(place).error());
  Result<struct stat> status = place->parent.stat(place->name);
  if (!status && status.error().code == ErrorCode::kNotFound) return std::optional<Entry>();
  Entry entry{.status = CFS_TRY(std::move(status))};
  auto read = [&]() -> Result<> {
    if (S_ISLNK(entry.status.st_mode)) entry.target = CFS_TRY(place->parent.read_link(place->name));
    entry.xattrs = CFS_TRY(xattrs_of(*place));
    entry.fingerprint = CFS_TRY(fingerprint_of(*place, entry));
    return {};
  };
  CFS_TRY_WITH("while reading '" + path + "'", read());
  return std::optional(std::move(entry));
}

Result<std::vector<std::string>> paths_below(const Directory& directory) {
  std::vector<std::string> paths;
  CFS_TRY(add_paths(directory, "", 0, paths));
  std::sort(paths.begin(), paths.end());
  return paths;
}

Result<> copy_entry(const Directory& from, const std::string& path, const Entry& entry,
                    const Directory& to, const std::string& name) {
  Place place{CFS_TRY(to.open_directory(".")), name};
  auto failure = [&] { return errno_error("cannot make '" + name + "'"); };
  const mode_t mode = entry.status.st_mode;
  if (S_ISDIR(mode)) {
    if (::mkdirat(place.fd(), name.c_str(), 0700) != 0) return failure();
  } else if (S_ISLNK(mode)) {
    if (::symlinkat(entry.target.c_str(), place.fd(), name.c_str()) != 0) return failure();
  } else if (S_ISREG(mode)) {
    UniqueFd source = CFS_TRY(from.open_file(path));
    UniqueFd file = CFS_TRY(open_at(place.fd(), name, O_WRONLY | O_CREAT | O_EXCL, 0600));
    CFS_TRY(read_pieces(source.get(), [&](Bytes bytes) { return write_full(file.get(), bytes); }));
  } else if (::mknodat(place.fd(), name.c_str(), (mode & S_IFMT) | 0600, entry.status.st_rdev) !=
             0) {
    return failure();
  }
  CFS_TRY(set_attributes(place, entry));
  return set_times(place, entry);
}

Result<> set_attributes(const Directory& directory, const std::string& path, const Entry& entry) {
  return set_attributes(Place{CFS_TRY(directory.open_directory(path)), "."}, entry);
}

Result<> set_times(const Directory& directory, const std::string& path, const Entry& entry) {
  return set_times(CFS_TRY(place_of(directory, path)), entry);
}

}  // namespace cfs::deployer
