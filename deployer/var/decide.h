// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "deployer/var/delivered.h"
#include "deployer/var/entry.h"
#include "lib/sysroot/var_policy.h"

namespace cfs::deployer {

/// What becomes of one path below /var at the first boot of a release.
enum class VarStep {
  kNothing,  ///< it is as the release has it
  kPut,      ///< it becomes as the release has it
  kRemove,   ///< an earlier release brought it, and this one does not
  kLeave,    ///< it stays as the device has it
};

/// A path as the running release ships it, as it is on the device, and as it was after cfs-deploy
/// had last to do with it. Null: there is none.
struct VarSituation {
  const Entry* shipped = nullptr;
  const Entry* found = nullptr;
  const Delivered* before = nullptr;
  sysroot::VarPolicy policy = sysroot::VarPolicy::kMissingOnly;
};

/// The whole of the rules (docs/STATE.md). A directory is decided for itself, not for what is
/// below.
[[nodiscard]] VarStep decide(const VarSituation& situation);

/// Returns true if the device has not changed the path since cfs-deploy had last to do with it.
[[nodiscard]] bool is_unchanged(const Delivered* before, const Entry* found);

}  // namespace cfs::deployer
