// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "deployer/sysroot/sysroot.h"
#include "lib/json/value.h"

namespace cfs::deployer {

/// What is installed, as `cfs-deploy status` shows it.
struct Status {
  Origin origin;
  References references;
  std::vector<Deployment> others;   ///< in none of the three roles
  std::vector<std::string> pinned;  ///< ids
  std::vector<Damage> damaged;      ///< what could not be read
  uint64_t object_count = 0;
  uint64_t object_bytes = 0;  ///< plain sizes
};

[[nodiscard]] Result<Status> read_status(const Sysroot& sysroot, const Environment& environment);

/// For people.
[[nodiscard]] std::string to_text(const Status& status);
/// For programs: docs/FORMATS.md, "cfs-deploy status --json".
[[nodiscard]] json::Value to_json(const Status& status);

}  // namespace cfs::deployer
