// SPDX-License-Identifier: Apache-2.0
#include "lib/disk/host_program.h"

#include "lib/base/subprocess.h"

namespace cfs::disk {

Result<std::string> find_program(const std::string& name, const std::string& package) {
  Result<std::string> found = cfs::find_program(name);
  if (found) return found;
  return Error(std::move(found).error()).with_hint("install the Debian package " + package);
}

}  // namespace cfs::disk
