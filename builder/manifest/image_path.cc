// SPDX-License-Identifier: Apache-2.0
#include "builder/manifest/image_path.h"

#include <algorithm>

namespace cfs::builder {

std::vector<std::string> path_components(std::string_view path) {
  std::vector<std::string> result;
  while (!path.empty()) {
    size_t slash = std::min(path.find('/'), path.size());
    if (slash > 0 && path.substr(0, slash) != ".") result.emplace_back(path.substr(0, slash));
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return result;
}

Result<std::string> normal_path(std::string_view path) {
  if (path.find('\0') != std::string_view::npos) {
    return make_error(ErrorCode::kInvalidInput, "a path with a NUL byte");
  }
  std::string result;
  for (const std::string& part : path_components(path)) {
    if (part == "..") {
      return make_error(ErrorCode::kInvalidInput,
                        "the path '" + std::string(path) + "' leads out of the image");
    }
    if (!result.empty()) result += '/';
    result += part;
  }
  return result;
}

}  // namespace cfs::builder
