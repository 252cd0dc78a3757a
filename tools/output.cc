// SPDX-License-Identifier: Apache-2.0
#include "tools/output.h"

#include <sys/random.h>

#include <array>
#include <climits>
#include <cstdlib>

#include "lib/base/check.h"
#include "lib/base/hex.h"
#include "lib/base/interrupt.h"
#include "lib/base/io.h"

namespace cfs::tools {
namespace {
constexpr size_t kFlushBytes = 64 << 10;
}

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
  mode_t mode = 0666;
  Result<struct stat> old = stat_at(AT_FDCWD, path, 0);
  if (old && !S_ISREG(old->st_mode)) {
    output.fd_ = CFS_TRY(open_at(AT_FDCWD, path, O_WRONLY));
    return output;
  }
  if (old) {  // the file itself is replaced, not a symlink to it
    char resolved[PATH_MAX];
    if (::realpath(path.c_str(), resolved) == nullptr) {
      return errno_error("cannot resolve '" + path + "'");
    }
    output.path_ = resolved;
    mode = old->st_mode & 0777;
  }
  size_t name = output.path_.rfind('/') + 1;
  std::array<std::byte, 8> random;
  CFS_CHECK(::getentropy(random.data(), random.size()) == 0);
  std::string temporary = output.path_.substr(0, name) + ".tmp-" + to_hex(random);
  Result<UniqueFd> fd = open_at(AT_FDCWD, temporary, O_RDWR | O_CREAT | O_EXCL, mode);
  if (!fd) return errno_error("cannot create '" + path + "'", fd.error().sys_errno);
  output.fd_ = std::move(*fd);
  output.temporary_ = std::move(temporary);
  return output;
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : fd_(std::move(other.fd_)),
      path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, {})) {}

OutputFile::~OutputFile() {
  if (!temporary_.empty()) (void)remove_file(AT_FDCWD, temporary_);
}

Result<> OutputFile::publish() {
  if (temporary_.empty()) return {};
  CFS_TRY_WITH("while writing '" + path_ + "'", fsync_fd(fd_.get()));
  CFS_TRY(rename_at(AT_FDCWD, temporary_, AT_FDCWD, path_));
  temporary_.clear();
  size_t slash = path_.rfind('/');
  return fsync_directory(AT_FDCWD, slash == path_.npos ? "." : path_.substr(0, slash + 1));
}

}  // namespace cfs::tools
