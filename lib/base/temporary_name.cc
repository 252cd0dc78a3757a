// SPDX-License-Identifier: Apache-2.0
//
// Between making a thing and locking it, a sweep of another process may take it for one that nobody
// needs; and between opening and locking a thing, the process that had the lock may remove it or
// give it its final name. So both sides look once more, with the lock in their hands, whether the
// name still means the file they have locked (device and inode: the open descriptor keeps the
// number from being used again). The maker then starts over with a new name.
#include "lib/base/temporary_name.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/random_name.h"

namespace cfs {
namespace {

/// Locks what `name` means in `parent_fd` and what `file` is the descriptor of. Nothing when
/// another process has it, or has removed or renamed it.
Result<std::optional<FileLock>> claim(int parent_fd, const std::string& name, UniqueFd file) {
  Result<FileLock> lock = FileLock::try_take(std::move(file), LockMode::kExclusive);
  if (!lock && lock.error().code == ErrorCode::kBusy) return std::optional<FileLock>();
  if (!lock) return Error(std::move(lock).error()).with("while locking '" + name + "'");
  struct stat ours = CFS_TRY(fstat_fd(lock->fd()));
  Result<struct stat> named = stat_at(parent_fd, name, AT_SYMLINK_NOFOLLOW);
  if (!named || named->st_dev != ours.st_dev || named->st_ino != ours.st_ino) {
    return std::optional<FileLock>();
  }
  return std::optional<FileLock>(std::move(*lock));
}

bool is_stale_name(const std::string& name, std::string_view prefix) {
  return name.starts_with(prefix) && is_random_name(std::string_view(name).substr(prefix.size()));
}

}  // namespace

Result<TemporaryName> TemporaryName::make_file(UniqueFd parent, std::string_view prefix,
                                               std::optional<mode_t> mode) {
  for (;;) {
    std::string name = std::string(prefix) + random_name();
    UniqueFd file =
        CFS_TRY(open_at(parent.get(), name, O_RDWR | O_CREAT | O_EXCL, mode ? 0600 : 0666));
    std::optional<FileLock> lock = CFS_TRY(claim(parent.get(), name, std::move(file)));
    if (!lock) continue;
    TemporaryName made(std::move(parent), std::move(name), std::move(*lock));
    if (mode && ::fchmod(made.fd(), *mode) != 0) return errno_error("cannot chmod");
    return made;
  }
}

Result<TemporaryName> TemporaryName::make_directory(UniqueFd parent, std::string_view prefix) {
  for (;;) {
    std::string name = std::string(prefix) + random_name();
    if (::mkdirat(parent.get(), name.c_str(), 0700) != 0) {
      return errno_error("cannot create directory '" + name + "'");
    }
    Result<UniqueFd> opened = open_at(parent.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!opened && opened.error().code == ErrorCode::kNotFound) continue;
    std::optional<FileLock> lock = CFS_TRY(claim(parent.get(), name, CFS_TRY(std::move(opened))));
    if (lock) return TemporaryName(std::move(parent), std::move(name), std::move(*lock));
  }
}

Result<> TemporaryName::remove_stale(int parent_fd, std::string_view prefix) {
  for (const std::string& name : CFS_TRY(list_directory(parent_fd, "."))) {
    if (!is_stale_name(name, prefix)) continue;
    Result<struct stat> status = stat_at(parent_fd, name, AT_SYMLINK_NOFOLLOW);
    if (!status || status->st_uid != ::geteuid()) continue;
    if (!S_ISDIR(status->st_mode) && !S_ISREG(status->st_mode)) continue;
    Result<UniqueFd> file = open_at(parent_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (!file) continue;
    Result<std::optional<FileLock>> lock = claim(parent_fd, name, std::move(*file));
    if (lock && *lock) (void)remove_tree(parent_fd, name);
  }
  return {};
}

TemporaryName::TemporaryName(TemporaryName&& other) noexcept
    : parent_(std::move(other.parent_)),
      name_(std::exchange(other.name_, {})),
      lock_(std::move(other.lock_)) {}

TemporaryName::~TemporaryName() {
  // An error leaves what the next sweep removes.
  if (!name_.empty()) (void)remove_tree(parent_.get(), name_);
}

}  // namespace cfs
