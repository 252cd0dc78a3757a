// SPDX-License-Identifier: Apache-2.0
#include "builder/sources/host_path.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>

#include "lib/base/io.h"

namespace cfs::builder {
namespace {

namespace fs = std::filesystem;

/// Returns true if the directory `outer` is the directory `path` or one of its parents. `path` is
/// absolute, without symlinks, and need not exist.
bool holds(const struct stat& outer, fs::path path) {
  for (;; path = path.parent_path()) {
    Result<struct stat> status = stat_at(AT_FDCWD, path.string(), 0);
    if (status && status->st_dev == outer.st_dev && status->st_ino == outer.st_ino) return true;
    if (path == path.root_path()) return false;
  }
}

}  // namespace

Error HostPath::error(ErrorCode code, const std::string& what) const {
  return make_error(code, fmt::format("{}'{}' {}", place, path, what));
}

Result<struct stat> HostPath::status(int flags) const {
  Result<struct stat> found = stat_at(AT_FDCWD, path, flags);
  if (found || found.error().code != ErrorCode::kNotFound) return found;
  return error(ErrorCode::kNotFound, "does not exist")
      .with_hint("paths are relative to the manifest's folder");
}

Result<> HostPath::check_access(int access) const {
  if (::faccessat(AT_FDCWD, path.c_str(), access, AT_EACCESS) == 0) return {};
  return error(ErrorCode::kPermission, "cannot be read");
}

Result<> HostPath::check_build_is_outside(const struct stat& directory,
                                          const SourceContext& context) const {
  auto check = [&](const std::string& what, const std::string& made,
                   const std::string& option) -> Result<> {
    if (made.empty() || !holds(directory, made)) return {};
    return error(ErrorCode::kUsage, fmt::format("holds the {} '{}'", what, made))
        .with_hint("name a directory outside of it with " + option);
  };
  CFS_TRY(check("output", context.output, "-o"));
  return check("store", context.store, "--store");
}

}  // namespace cfs::builder
