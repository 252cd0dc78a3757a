// SPDX-License-Identifier: Apache-2.0
#include "lib/base/relative_path.h"

#include <algorithm>

namespace cfs {

bool is_plain_name(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes && name != "." && name != ".." &&
         name.find('/') == name.npos && name.find('\0') == name.npos;
}

bool is_plain_path(std::string_view path) {
  if (path.size() > kMaxPathBytes) return false;
  for (size_t start = 0; start <= path.size();) {
    size_t end = std::min(path.find('/', start), path.size());
    if (!is_plain_name(path.substr(start, end - start))) return false;
    start = end + 1;
  }
  return true;
}

SplitPath split_path(std::string_view path) {
  size_t slash = path.rfind('/');
  if (slash == path.npos) return {".", std::string(path)};
  return {std::string(path.substr(0, std::max<size_t>(slash, 1))),
          std::string(path.substr(slash + 1))};
}

}  // namespace cfs
