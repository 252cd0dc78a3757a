// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "deployer/command.h"
#include "deployer/mounted_esp.h"
#include "deployer/sysroot/references.h"
#include "deployer/upkeep/space.h"
#include "lib/json/value.h"
#include "lib/sysroot/reset_request.h"

namespace cfs::deployer {

/// What is installed, as `cfs-deploy status` shows it.
struct Status {
  Origin origin;
  References references;
  bool is_running = false;  ///< references.booted: not only the last that did
  /// What the boot loader starts next; nothing when it has no entry, or next_problem says why.
  std::optional<boot::NextBoot> next;
  std::string next_problem;
  std::optional<boot::Tries> next_tries;
  std::optional<Deployment> next_deployment;  ///< of that entry
  std::optional<Deployment> way_back;         ///< boots when next_deployment fails
  std::string foreign_fallback;     ///< the entry of another system that boots in its place then
  std::string unseen_wish;          ///< BootLoader::unseen_wish()
  std::string failure;              ///< what_failed()
  std::vector<Deployment> others;   ///< in none of the roles of `references`
  std::vector<std::string> pinned;  ///< ids
  std::vector<Damage> damaged;      ///< what could not be read
  std::vector<std::string> etc_conflicts;  ///< etc_conflicts()
  sysroot::ResetRequest reset;             ///< what the next boot resets
  /// Errors that the kernel has found in the file system's metadata since it was last checked; ext4
  /// only, else 0. After the first one it is read-only.
  uint64_t file_system_errors = 0;
  Space space;
  std::optional<Garbage> garbage;  ///< what garbage collection would remove, unless it would refuse
  std::string room_problem;  ///< why another release as large as the running one would not fit
  std::string collection_problem;  ///< why garbage collection would refuse; "": it would not
};

/// `esp`: the boot loader's, or why it cannot be asked.
[[nodiscard]] Result<Status> read_status(Sysroot& sysroot, const Environment& environment,
                                         const Result<MountedEsp>& esp);

/// What is running, what boots next, and why: one sentence or two.
[[nodiscard]] std::string sentence(const Status& status);

/// For people.
[[nodiscard]] std::string to_text(const Status& status);
/// For programs: docs/schema/status.json.
[[nodiscard]] json::Value to_json(const Status& status);

/// `cfs-deploy status`
[[nodiscard]] RunCommand declare_status(CLI::App& command);

}  // namespace cfs::deployer
