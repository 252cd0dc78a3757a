// SPDX-License-Identifier: Apache-2.0
#include "deployer/login_notice.h"

#include "lib/base/atomic_file.h"
#include "lib/base/io.h"

namespace cfs::deployer {

std::string what_failed(const Inventory& inventory) {
  const std::optional<Deployment>& booted = inventory.references.booted;
  for (const Deployment& one : inventory.deployments) {  // newest first
    bool is_failure = one.held && one.held->kind != ReasonKind::kRolledBack &&
                      one.held->kind != ReasonKind::kCancelled;
    if (is_failure && (!booted || one.epoch > booted->epoch)) {
      return one.version + " failed: " + describe(*one.held);
    }
  }
  return "";
}

Result<> write_login_notice(const Environment& environment, const std::string& line) {
  const std::string directory = environment.run + "/motd.d";
  const std::string path = directory + "/cfs";
  if (line.empty()) {
    Result<> removed = remove_file(AT_FDCWD, path);
    if (!removed && removed.error().code == ErrorCode::kNotFound) return {};
    return removed;
  }
  CFS_TRY(make_directories(AT_FDCWD, directory));
  return write_file_atomically(AT_FDCWD, path, as_bytes("cfs: " + line + "\n"));
}

}  // namespace cfs::deployer
