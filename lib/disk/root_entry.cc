// SPDX-License-Identifier: Apache-2.0
#include "lib/disk/root_entry.h"

#include <sys/stat.h>
#include <unistd.h>

#include <climits>

#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/disk/content.h"
#include "lib/sysroot/layout.h"

namespace cfs::disk {
namespace {

/// The object of a device that lies at `path` of its file system.
std::optional<verity::Digest> object_at(std::string_view path) {
  const std::string top = std::string(sysroot::kSysrootDirectory) + "/";
  if (!path.starts_with(top)) return std::nullopt;
  return sysroot::object_of_path(path.substr(top.size()));
}

Result<std::string> read_link(int dir_fd, const std::string& path) {
  char target[PATH_MAX];
  ssize_t length = ::readlinkat(dir_fd, path.c_str(), target, sizeof(target));
  if (length < 0) return errno_error("cannot read the link '" + path + "'");
  return std::string(target, static_cast<size_t>(length));
}

struct Walk {
  int64_t mtime_seconds;
  std::vector<RootEntry> entries;

  Result<> visit(const std::string& host_path, const std::string& as) {
    CFS_TRY(check_interrupted());
    struct stat status = CFS_TRY(stat_at(AT_FDCWD, host_path, AT_SYMLINK_NOFOLLOW));
    RootEntry entry{.path = as, .mode = status.st_mode, .mtime_seconds = mtime_seconds};
    switch (status.st_mode & S_IFMT) {
      case S_IFREG:
        entry.content = HostFile{host_path};
        entry.verity = object_at(as);
        break;
      case S_IFLNK:
        entry.symlink_target = CFS_TRY(read_link(AT_FDCWD, host_path));
        break;
      case S_IFDIR:
        break;
      default:
        return make_error(ErrorCode::kInvalidInput,
                          "'" + host_path + "' is neither file, directory nor symlink");
    }
    entries.push_back(std::move(entry));
    if (!S_ISDIR(status.st_mode)) return {};
    std::vector<std::string> names = CFS_TRY(list_directory(AT_FDCWD, host_path));
    for (const std::string& name : names) {
      CFS_TRY(visit(host_path + "/" + name, as.empty() ? name : as + "/" + name));
    }
    return {};
  }
};

}  // namespace

Result<uint64_t> size_of(const Content& content) {
  if (const auto* text = std::get_if<std::string>(&content)) return uint64_t{text->size()};
  const std::string& path = std::get<HostFile>(content).path;
  struct stat status = CFS_TRY(stat_at(AT_FDCWD, path, 0));
  if (!S_ISREG(status.st_mode)) {
    return make_error(ErrorCode::kInvalidInput, "'" + path + "' is not a regular file");
  }
  return static_cast<uint64_t>(status.st_size);
}

Result<std::vector<RootEntry>> entries_of_directory(const std::string& path, const std::string& as,
                                                    int64_t mtime_seconds) {
  Walk walk{.mtime_seconds = mtime_seconds, .entries = {}};
  CFS_TRY(walk.visit(path, as));
  return std::move(walk.entries);
}

}  // namespace cfs::disk
