// SPDX-License-Identifier: Apache-2.0
#include "lib/disk/host_program.h"

#include <unistd.h>

#include <cstdlib>
#include <string_view>

namespace cfs::disk {

Result<std::string> find_program(const std::string& name, const std::string& package) {
  const char* from_environment = ::getenv("PATH");  // NOLINT(concurrency-mt-unsafe)
  std::string path = from_environment == nullptr ? "" : from_environment;
  path += ":/usr/sbin:/sbin";
  for (size_t start = 0; start <= path.size();) {
    size_t end = std::min(path.find(':', start), path.size());
    std::string candidate = path.substr(start, end - start) + "/" + name;
    if (candidate.front() == '/' && ::access(candidate.c_str(), X_OK) == 0 && end > start) {
      return candidate;
    }
    start = end + 1;
  }
  return make_error(ErrorCode::kNotFound, "the program '" + name + "' is not installed")
      .with_hint("install the Debian package " + package);
}

}  // namespace cfs::disk
