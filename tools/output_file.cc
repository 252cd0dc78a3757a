// SPDX-License-Identifier: Apache-2.0
#include "tools/output_file.h"

#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <vector>

#include "lib/base/io.h"

namespace cfs::tools {
namespace {
constexpr size_t kCopyBytes = 1 << 20;

/// Does `path` name a descriptor of some process (/dev/stdout, /proc/self/fd/1)? Whoever opened
/// that wants the data there, whatever other names the file has.
bool names_a_descriptor(const std::string& path) {
  struct open_how how = {};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_NO_MAGICLINKS;
  UniqueFd fd(static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, path.c_str(), &how, sizeof(how))));
  return !fd.valid() && errno == ELOOP;
}

bool exists(const std::string& path) {
  return stat_at(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW).has_value();
}

}  // namespace

Result<OutputFile> OutputFile::create(const std::string& path) {
  OutputFile output;
  output.path_ = path;
  Result<struct stat> old = stat_at(AT_FDCWD, path, 0);
  bool can_be_replaced = false;
  if (old) {
    output.replaces_ = true;
    can_be_replaced = S_ISREG(old->st_mode) && old->st_nlink == 1 && !names_a_descriptor(path);
    if (can_be_replaced) {
      // Not by opening it: nobody can, once it has fs-verity.
      if (::faccessat(AT_FDCWD, path.c_str(), W_OK, AT_EACCESS) != 0) {
        return errno_error("cannot open '" + path + "'");
      }
      char resolved[PATH_MAX];  // the file itself is replaced, not a symlink to it
      if (::realpath(path.c_str(), resolved) == nullptr) {
        return errno_error("cannot resolve '" + path + "'");
      }
      output.path_ = resolved;
    }
  } else {
    can_be_replaced = !exists(path);  // else a symlink to a file that is still to be made
  }
  if (can_be_replaced && output.open_temporary(old ? &*old : nullptr)) return output;
  int flags = O_WRONLY | O_TRUNC | (output.replaces_ ? 0 : O_CREAT);
  output.path_ = path;
  output.in_place_ = CFS_TRY(open_at(AT_FDCWD, path, flags, 0666));
  return output;
}

Result<> OutputFile::open_temporary(const struct stat* old) {
  std::optional<mode_t> mode;
  if (old != nullptr) mode = old->st_mode & 0777;
  AtomicFile file = CFS_TRY(AtomicFile::create(AT_FDCWD, path_, mode));
  if (old != nullptr) {
    struct stat made = CFS_TRY(fstat_fd(file.fd()));
    bool has_owner = made.st_uid == old->st_uid && made.st_gid == old->st_gid;
    if (!has_owner && ::fchown(file.fd(), old->st_uid, old->st_gid) != 0) {
      return errno_error("cannot chown");
    }
  }
  whole_.emplace(std::move(file));
  return {};
}

Result<> OutputFile::publish() {
  if (whole_) {
    Result<> published = whole_->publish();
    // A mount point cannot be replaced, nor can somebody else's file in a sticky directory.
    if (!published && replaces_) return copy_in_place();
    return published;
  }
  struct stat written = CFS_TRY(fstat_fd(fd()));
  if (!S_ISREG(written.st_mode) && !S_ISBLK(written.st_mode)) return {};
  CFS_TRY_WITH("while writing '" + path_ + "'", fsync_fd(fd()));
  return {};
}

Result<> OutputFile::copy_in_place() {
  UniqueFd target = CFS_TRY(open_at(AT_FDCWD, path_, O_WRONLY | O_TRUNC));
  std::vector<std::byte> buffer(kCopyBytes);
  for (uint64_t offset = 0;;) {
    size_t count = CFS_TRY(pread_full(fd(), buffer, offset));
    CFS_TRY_WITH("while writing '" + path_ + "'",
                 write_full(target.get(), Bytes(buffer).first(count)));
    if (count < buffer.size()) break;
    offset += count;
  }
  return fsync_fd(target.get());
}

}  // namespace cfs::tools
