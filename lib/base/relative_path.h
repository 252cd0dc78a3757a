// SPDX-License-Identifier: Apache-2.0
// Names and relative paths that mean one file and cannot mean another.
#pragma once

#include <string>
#include <string_view>

namespace cfs {

constexpr size_t kMaxNameBytes = 255;   ///< NAME_MAX of Linux
constexpr size_t kMaxPathBytes = 4095;  ///< PATH_MAX of Linux without the NUL

/// Returns true if `name` is the name of one directory entry: 1 to 255 bytes, without '/' and NUL,
/// not "." and not "..".
[[nodiscard]] bool is_plain_name(std::string_view name);

/// Returns true if `path` is one plain name or more, separated by one '/' each: relative, without
/// "." and "..", at most 4095 bytes.
[[nodiscard]] bool is_plain_path(std::string_view path);

/// A path taken apart at its last '/'.
struct SplitPath {
  std::string directory;  ///< "." when the path has no '/', "/" for one in the root directory
  std::string name;       ///< empty when the path ends in '/'
};
[[nodiscard]] SplitPath split_path(std::string_view path);

}  // namespace cfs
