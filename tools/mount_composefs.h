// SPDX-License-Identifier: Apache-2.0
// mount.composefs, compatible with the program of the same name of the composefs project
// (COMPOSEFS-FORMAT.md §17). It runs on its own or as the helper of `mount -t composefs` (mount(8),
// "External helpers"), for which it takes what may stand in a line of fstab.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "lib/base/command_io.h"
#include "lib/base/result.h"
#include "lib/mount/composefs_mount.h"

namespace cfs::tools {

/// What mount.composefs was asked to do.
struct MountRequest {
  bool only_check = false;  ///< -f: nothing is mounted
  std::string image;
  std::string target;
  std::string user_namespace;  ///< path, empty: no id mapping
  mount::ComposefsOptions options;
};
struct HelpRequest {};

/// Parses the arguments after the program's name. kUsage for anything not understood.
[[nodiscard]] Result<std::variant<MountRequest, HelpRequest>> parse_mount_arguments(
    const std::vector<std::string>& arguments);

/// Runs the command. Every error is exit status 1, as the original has it.
[[nodiscard]] Result<int> run_mount_composefs(const std::vector<std::string>& arguments,
                                              const Io& io);

}  // namespace cfs::tools
