// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>

#include <string>

#include "builder/sources/source.h"
#include "lib/base/result.h"

namespace cfs::builder {

/// A file or directory of the build host that a source reads.
struct HostPath {
  std::string path;   ///< absolute
  std::string place;  ///< yaml::Value::place()

  /// An error about the path, with its place in the manifest: "PLACE'PATH' what".
  [[nodiscard]] Error error(ErrorCode code, const std::string& what) const;

  /// stat(2) of it; `flags` as AT_SYMLINK_NOFOLLOW. Errors: kNotFound with a hint.
  [[nodiscard]] Result<struct stat> status(int flags) const;

  /// kPermission unless we have `access` (R_OK, X_OK).
  [[nodiscard]] Result<> check_access(int access) const;

  /// kUsage if the output or the store of the build lies inside this directory, whose stat is
  /// `directory`: a build that reads what it writes would put its own store into the image.
  [[nodiscard]] Result<> check_build_is_outside(const struct stat& directory,
                                                const SourceContext& context) const;
};

}  // namespace cfs::builder
