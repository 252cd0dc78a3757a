// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "deployer/command.h"
#include "deployer/sysroot/references.h"
#include "lib/json/value.h"

namespace cfs::deployer {

/// What is installed, as `cfs-deploy status` shows it.
struct Status {
  Origin origin;
  References references;
  std::vector<Deployment> others;   ///< in none of the three roles
  std::vector<std::string> pinned;  ///< ids
  std::vector<Damage> damaged;      ///< what could not be read
  /// Errors that the kernel has found in the file system's metadata since it was last checked; ext4
  /// only, else 0. After the first one it is read-only.
  uint64_t file_system_errors = 0;
  uint64_t object_count = 0;
  uint64_t object_bytes = 0;  ///< plain sizes
};

[[nodiscard]] Result<Status> read_status(const Sysroot& sysroot, const Environment& environment);

/// For people.
[[nodiscard]] std::string to_text(const Status& status);
/// For programs: docs/FORMATS.md, "cfs-deploy status --json".
[[nodiscard]] json::Value to_json(const Status& status);

/// `cfs-deploy status`
[[nodiscard]] RunCommand declare_status(CLI::App& command);

}  // namespace cfs::deployer
