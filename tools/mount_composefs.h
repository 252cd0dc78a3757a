// SPDX-License-Identifier: Apache-2.0
// mount.composefs, compatible with the program of the same name of the composefs project
// (composefs-format.md §17). It runs on its own or as the helper of `mount -t composefs`.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "lib/base/result.h"
#include "lib/mount/composefs_mount.h"

namespace cfs::tools {

/// What mount.composefs was asked to do.
struct MountRequest {
  std::string image;
  std::string target;
  std::string user_namespace;  ///< path, empty: no id mapping
  mount::ComposefsOptions options;
};
struct HelpRequest {};

/// Parses the arguments after the program's name. kUsage for anything not understood.
[[nodiscard]] Result<std::variant<MountRequest, HelpRequest>> parse_mount_arguments(
    const std::vector<std::string>& arguments);

/// Runs the program; the result is its exit status: 0 or, as the original has it, 1.
[[nodiscard]] int run_mount_composefs(const std::vector<std::string>& arguments);

}  // namespace cfs::tools
