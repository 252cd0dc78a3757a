// SPDX-License-Identifier: Apache-2.0
// Checks that are executables: `health.d/{required,advisory}` of the release and of the
// administrator.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "deployer/health/health.h"

namespace cfs::deployer {

/// A file in a health.d.
struct CheckFile {
  std::string name;
  std::string path;
  bool is_masked = false;  ///< a symlink to /dev/null
};

/// The files of a kind, sorted by name, those of the administrator in place of the release's. Names
/// that begin with '.' are none. A missing directory is fine. Errors: those of list_directory().
[[nodiscard]] Result<std::vector<CheckFile>> find_check_files(const Environment& environment,
                                                              CheckKind kind);

/// The paths of executables and folders that lie in a `health.d` itself: nobody runs them. Errors:
/// those of list_directory().
[[nodiscard]] Result<std::vector<std::string>> find_misplaced(const Environment& environment);

/// Runs one in a process group of its own, which is killed as a whole when the time is over, and
/// with the environment of lib/base/subprocess.h. It has 60 s, or what a line
/// `# cfs-health: timeout=5min` among the first 4 KiB of a script says. Errors: kInterrupted.
[[nodiscard]] Result<CheckResult> run_check_file(const CheckFile& file, CheckKind kind);

}  // namespace cfs::deployer
