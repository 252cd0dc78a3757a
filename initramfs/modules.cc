// SPDX-License-Identifier: Apache-2.0
#include "initramfs/modules.h"

#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/io.h"

namespace cfs::initramfs {

std::vector<std::string> parse_module_list(std::string_view text) {
  std::vector<std::string> paths;
  while (!text.empty()) {
    size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    if (!line.empty() && line.front() != '#') paths.emplace_back(line);
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return paths;
}

Result<> load_module(const std::string& path) {
  UniqueFd fd = CFS_TRY(open_at(AT_FDCWD, path, O_RDONLY));
  if (::syscall(SYS_finit_module, fd.get(), "", 0) != 0 && errno != EEXIST) {
    return errno_error("cannot load module '" + path + "'");
  }
  return {};
}

}  // namespace cfs::initramfs
