// SPDX-License-Identifier: Apache-2.0
#include "lib/base/work_directory.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "lib/base/io.h"
#include "lib/base/relative_path.h"

namespace cfs {

Result<WorkDirectory> WorkDirectory::create(int dir_fd, const std::string& parent,
                                            std::string_view prefix) {
  UniqueFd opened = CFS_TRY(open_at(dir_fd, parent, O_PATH | O_DIRECTORY));
  auto make = [&]() -> Result<TemporaryName> {
    CFS_TRY(TemporaryName::remove_stale(opened.get(), prefix));
    return TemporaryName::make_directory(std::move(opened), prefix);
  };
  TemporaryName temporary =
      CFS_TRY_WITH("while making a work directory in '" + parent + "'", make());
  std::string path = (parent.ends_with('/') ? parent : parent + "/") + temporary.name();
  return WorkDirectory(std::move(temporary), std::move(path));
}

Result<> WorkDirectory::publish(int dir_fd, const std::string& path, mode_t mode,
                                Existing existing) {
  if (::fchmod(fd(), mode) != 0) return errno_error("cannot chmod '" + path_ + "'");
  CFS_TRY(sync_filesystem(fd()));
  auto rename = [&](unsigned flags) {
    return ::renameat2(temporary_.parent_fd(), temporary_.name().c_str(), dir_fd, path.c_str(),
                       flags);
  };
  bool exchanged = existing == Existing::kReplace && rename(RENAME_EXCHANGE) == 0;
  if (!exchanged) {
    bool missing = existing == Existing::kRefuse || errno == ENOENT;
    if (!missing || rename(RENAME_NOREPLACE) != 0) {
      return errno_error("cannot rename a new directory to '" + path + "'");
    }
  }
  std::string old_name = temporary_.name();
  temporary_.keep();
  path_ = path;
  CFS_TRY(fsync_directory(dir_fd, split_path(path).directory));
  if (!exchanged) return {};
  return remove_tree(temporary_.parent_fd(), old_name);
}

}  // namespace cfs
