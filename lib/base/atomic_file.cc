// SPDX-License-Identifier: Apache-2.0
#include "lib/base/atomic_file.h"

#include <fcntl.h>
#include <stdio.h>

#include "lib/base/io.h"
#include "lib/base/relative_path.h"

namespace cfs {

Result<AtomicFile> AtomicFile::create(int dir_fd, const std::string& path,
                                      std::optional<mode_t> mode) {
  SplitPath parts = split_path(path);
  if (!is_plain_name(parts.name)) {
    return make_error(ErrorCode::kInvalidInput, "'" + path + "' does not name a file");
  }
  UniqueFd parent = CFS_TRY(open_at(dir_fd, parts.directory, O_PATH | O_DIRECTORY));
  TemporaryName temporary =
      CFS_TRY_WITH("while making '" + path + "'",
                   TemporaryName::make_file(std::move(parent), kTemporaryPrefix, mode));
  return AtomicFile(std::move(temporary), std::move(parts.name));
}

Result<> AtomicFile::publish(Existing existing) {
  CFS_TRY(fsync_fd(temporary_.fd()));
  const int parent_fd = temporary_.parent_fd();
  unsigned flags = existing == Existing::kRefuse ? RENAME_NOREPLACE : 0;
  if (::renameat2(parent_fd, temporary_.name().c_str(), parent_fd, name_.c_str(), flags) != 0) {
    return errno_error("cannot rename a new file to '" + name_ + "'");
  }
  temporary_.keep();
  Result<> synced = fsync_directory(parent_fd, ".");
  // Not every directory that can be written to can be opened.
  if (!synced && synced.error().sys_errno == EACCES) return sync_filesystem(temporary_.fd());
  return synced;
}

Result<> write_file_atomically(int dir_fd, const std::string& path, Bytes content, mode_t mode,
                               Existing existing) {
  auto write = [&]() -> Result<> {
    AtomicFile file = CFS_TRY(AtomicFile::create(dir_fd, path, mode));
    CFS_TRY(write_full(file.fd(), content));
    return file.publish(existing);
  };
  CFS_TRY_WITH("while writing '" + path + "'", write());
  return {};
}

}  // namespace cfs
