// SPDX-License-Identifier: Apache-2.0
// Looks at a finished mount with fresh eyes: what the kernel says it is, and whether it can be
// read. Some kernels mount with verity=require and then fail every read, others might one day
// ignore the option; both are found here, before anything depends on the mount.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/base/unique_fd.h"

namespace cfs::mount {

/// One line of /proc/self/mountinfo. Spec: proc(5).
struct MountInfo {
  uint64_t id = 0;
  std::string target;         ///< with the octal escapes undone
  std::string type;           ///< "overlay"
  std::string source;         ///< with the octal escapes undone
  std::string super_options;  ///< comma-separated, as the kernel shows them

  [[nodiscard]] bool has_option(std::string_view option) const;
};

/// nullopt when the line is not a mountinfo line.
[[nodiscard]] std::optional<MountInfo> parse_mountinfo_line(std::string_view line);

/// The mount that `fd` is on.
[[nodiscard]] Result<MountInfo> mount_of(int fd);

/// Opens `path` as a process with the root directory `root_fd` would: symlinks, also absolute ones,
/// stay inside. Spec: openat2(2), RESOLVE_IN_ROOT.
[[nodiscard]] Result<UniqueFd> open_in_root(int root_fd, const std::string& path, int flags);

/// The program interpreter named in an ELF file, or in the `#!` line of a script; nullopt: none.
[[nodiscard]] Result<std::optional<std::string>> interpreter_of(int fd);

/// kInternal unless the mount at `root_fd` is an overlay with metacopy=on and verity=require.
[[nodiscard]] Result<> check_verity_required(int root_fd);

/// Reads `program` below `root_fd` from its first to its last byte, and so on with its interpreter.
[[nodiscard]] Result<> check_program_readable(int root_fd, const std::string& program);

/// Opens every regular file below `root_fd` on the same mount. Opening makes overlayfs look up the
/// file's object and compare its fs-verity digest with the image's; blocks are compared when read.
/// Returns the number of files. The error names the first bad file.
[[nodiscard]] Result<uint64_t> check_every_file_opens(int root_fd);

}  // namespace cfs::mount
