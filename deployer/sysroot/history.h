// SPDX-License-Identifier: Apache-2.0
// What ran when, and how it ended: `history.json` (docs/FORMATS.md).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "deployer/sysroot/reason.h"
#include "deployer/sysroot/references.h"

namespace cfs::deployer {

enum class BootOutcome {
  kRunning,  ///< it runs, or nobody has seen how it ended
  kHealthy,  ///< its health checks passed
  kFailed,   ///< Boot::reason says why
  kEnded,    ///< a good deployment was switched off before its checks had passed
};

/// One boot of a deployment, or the boots of it that left no trace of their own.
struct Boot {
  std::string boot_id;     ///< of the kernel; empty: it never came as far as cfs-deploy
  std::string deployment;  ///< its id
  std::string version;
  uint64_t started = 0;  ///< Unix time when it was first seen; 0 with an empty boot_id
  BootOutcome outcome = BootOutcome::kRunning;
  std::optional<Reason> reason;  ///< kFailed
  bool operator==(const Boot&) const = default;
};

/// The last kMaxBoots boots, the oldest first.
constexpr size_t kMaxBoots = 200;
using History = std::vector<Boot>;

/// "running", "healthy", "failed", "ended"
[[nodiscard]] std::string_view outcome_name(BootOutcome outcome);

/// Missing: empty. Errors: kCorrupt, kUnsupported (another schema); kIo, kInterrupted.
[[nodiscard]] Result<History> read_history(const Sysroot& sysroot);
/// As read_history(); a damaged one is empty, for a new one replaces it.
[[nodiscard]] Result<History> read_history_to_go_on(const Sysroot& sysroot);
/// Durable when this returns. Boots that are too many are left out.
[[nodiscard]] Result<> save_history(Sysroot& sysroot, const History& history);

[[nodiscard]] json::Value to_json(const Boot& boot);

}  // namespace cfs::deployer
