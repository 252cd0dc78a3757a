// SPDX-License-Identifier: Apache-2.0
#include "builder/passes/glob.h"

#include <cstddef>

namespace cfs::builder {

bool glob_match(std::string_view pattern, std::string_view path) {
  // Where to go on when a later character does not fit: one more character for the last star.
  size_t star = std::string_view::npos;
  size_t star_path = 0;
  size_t deep = std::string_view::npos;
  size_t deep_path = 0;
  size_t p = 0;
  size_t i = 0;
  for (;;) {
    if (pattern.substr(p, 2) == "**") {
      p += 2;
      deep = p;
      deep_path = i;
      star = std::string_view::npos;
      continue;
    }
    if (p < pattern.size() && pattern[p] == '*') {
      star = ++p;
      star_path = i;
      continue;
    }
    if (i == path.size() && p == pattern.size()) return true;
    if (i < path.size() && p < pattern.size() &&
        (pattern[p] == path[i] || (pattern[p] == '?' && path[i] != '/'))) {
      ++p;
      ++i;
    } else if (star != std::string_view::npos && star_path < path.size() &&
               path[star_path] != '/') {
      p = star;
      i = ++star_path;
    } else if (deep != std::string_view::npos && deep_path < path.size()) {
      p = deep;
      i = ++deep_path;
      star = std::string_view::npos;
    } else {
      return false;
    }
  }
}

}  // namespace cfs::builder
