// SPDX-License-Identifier: Apache-2.0
#include "tools/output.h"

#include <linux/openat2.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <cstdlib>
#include <vector>

#include "lib/base/check.h"
#include "lib/base/hex.h"
#include "lib/base/interrupt.h"
#include "lib/base/io.h"

namespace cfs::tools {
namespace {
constexpr size_t kFlushBytes = 64 << 10;
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

Result<> TextOutput::write(std::string_view text) {
  buffer_ += text;
  if (buffer_.size() < kFlushBytes) return {};
  return flush();
}

Result<> TextOutput::flush() {
  CFS_TRY(check_interrupted());
  CFS_TRY_WITH("while printing the result", write_full(fd_, as_bytes(buffer_)));
  buffer_.clear();
  return {};
}

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
  output.fd_ = CFS_TRY(open_at(AT_FDCWD, path, flags, 0666));
  return output;
}

Result<> OutputFile::open_temporary(const struct stat* old) {
  std::array<std::byte, 8> random;
  CFS_CHECK(::getentropy(random.data(), random.size()) == 0);
  std::string name = path_.substr(0, path_.rfind('/') + 1) + ".tmp-" + to_hex(random);
  fd_ = CFS_TRY(open_at(AT_FDCWD, name, O_RDWR | O_CREAT | O_EXCL, 0666));
  auto take_over = [&]() -> Result<> {
    if (old == nullptr) return {};
    struct stat made = CFS_TRY(fstat_fd(fd_.get()));
    bool has_owner = made.st_uid == old->st_uid && made.st_gid == old->st_gid;
    if (!has_owner && ::fchown(fd_.get(), old->st_uid, old->st_gid) != 0) {
      return errno_error("cannot chown");
    }
    if (::fchmod(fd_.get(), old->st_mode & 0777) != 0) return errno_error("cannot chmod");
    return {};
  };
  Result<> taken = take_over();
  if (!taken) {
    (void)remove_file(AT_FDCWD, name);
    return taken;
  }
  temporary_ = std::move(name);
  return {};
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : fd_(std::move(other.fd_)),
      path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, {})),
      replaces_(other.replaces_) {}

OutputFile::~OutputFile() {
  if (!temporary_.empty()) (void)remove_file(AT_FDCWD, temporary_);
}

Result<> OutputFile::publish() {
  struct stat written = CFS_TRY(fstat_fd(fd_.get()));
  if (!S_ISREG(written.st_mode) && !S_ISBLK(written.st_mode)) return {};
  CFS_TRY_WITH("while writing '" + path_ + "'", fsync_fd(fd_.get()));
  if (temporary_.empty()) return {};
  Result<> renamed = rename_at(AT_FDCWD, temporary_, AT_FDCWD, path_);
  // A mount point cannot be replaced, nor can somebody else's file in a sticky directory.
  if (!renamed && replaces_) return copy_in_place();
  CFS_TRY(std::move(renamed));
  temporary_.clear();
  size_t slash = path_.rfind('/');
  Result<> synced =
      fsync_directory(AT_FDCWD, slash == path_.npos ? "." : path_.substr(0, slash + 1));
  // Not every directory that can be written to can be opened.
  if (!synced && synced.error().sys_errno == EACCES) return sync_filesystem(fd_.get());
  return synced;
}

Result<> OutputFile::copy_in_place() {
  UniqueFd target = CFS_TRY(open_at(AT_FDCWD, path_, O_WRONLY | O_TRUNC));
  std::vector<std::byte> buffer(kCopyBytes);
  for (uint64_t offset = 0;;) {
    size_t count = CFS_TRY(pread_full(fd_.get(), buffer, offset));
    CFS_TRY_WITH("while writing '" + path_ + "'",
                 write_full(target.get(), Bytes(buffer).first(count)));
    if (count < buffer.size()) break;
    offset += count;
  }
  return fsync_fd(target.get());
}

}  // namespace cfs::tools
