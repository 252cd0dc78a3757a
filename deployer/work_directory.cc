// SPDX-License-Identifier: Apache-2.0
#include "deployer/work_directory.h"

#include <sys/file.h>
#include <unistd.h>

#include <algorithm>

#include "lib/base/hex.h"
#include "lib/base/io.h"

namespace cfs::deployer {
namespace {

constexpr std::string_view kPrefix = ".cfs-deploy-";
constexpr size_t kSuffixDigits = 16;

bool is_ours_by_name(std::string_view name) {
  return name.size() == kPrefix.size() + kSuffixDigits && name.starts_with(kPrefix) &&
         name.find_first_not_of("0123456789abcdef", kPrefix.size()) == std::string_view::npos;
}

std::string random_name() {
  unsigned char bytes[kSuffixDigits / 2];
  if (::getentropy(bytes, sizeof(bytes)) != 0) ::abort();
  return std::string(kPrefix) + to_hex(std::as_bytes(std::span(bytes)));
}

/// Opens and locks a directory. Nothing: it is gone, somebody else's, or in use.
UniqueFd lock_directory(const std::string& path) {
  Result<UniqueFd> directory = open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!directory || ::flock(directory->get(), LOCK_EX | LOCK_NB) != 0) return {};
  // Between opening and locking the one who held the lock may have removed or renamed it.
  Result<struct stat> opened = fstat_fd(directory->get());
  Result<struct stat> named = stat_at(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW);
  if (!opened || !named || opened->st_ino != named->st_ino || opened->st_dev != named->st_dev ||
      opened->st_uid != ::geteuid()) {
    return {};
  }
  return std::move(*directory);
}

}  // namespace

Result<WorkDirectory> WorkDirectory::create(const std::string& parent) {
  const std::string prefix = parent.ends_with('/') ? parent : parent + "/";
  for (const std::string& name : CFS_TRY(list_directory(AT_FDCWD, parent))) {
    if (!is_ours_by_name(name)) continue;
    // What cannot be removed takes room, and is no reason to stop.
    if (UniqueFd stale = lock_directory(prefix + name); stale.valid()) {
      (void)remove_tree(AT_FDCWD, prefix + name);
    }
  }
  for (;;) {
    std::string path = prefix + random_name();
    if (::mkdir(path.c_str(), 0700) != 0) {
      return errno_error("cannot make a directory in '" + parent + "'");
    }
    // In the instant before it is locked another create() may take it for a stale one.
    if (UniqueFd directory = lock_directory(path); directory.valid()) {
      return WorkDirectory(std::move(path), std::move(directory));
    }
    if (stat_at(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW)) {
      return make_error(ErrorCode::kIo, "cannot lock the directory '" + path + "'");
    }
  }
}

WorkDirectory::~WorkDirectory() {
  if (!path_.empty()) (void)remove_tree(AT_FDCWD, path_);
}

}  // namespace cfs::deployer
