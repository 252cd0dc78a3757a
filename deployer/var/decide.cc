// SPDX-License-Identifier: Apache-2.0
#include "deployer/var/decide.h"

namespace cfs::deployer {

using sysroot::VarPolicy;

bool is_unchanged(const Delivered* before, const Entry* found) {
  if (before == nullptr) return found == nullptr;
  if (found == nullptr) return before->or_nothing;
  return before->fingerprints.contains(found->fingerprint) ||
         (before->or_any_directory && found->is_directory());
}

VarStep decide(const VarSituation& situation) {
  const auto& [shipped, found, before, policy] = situation;
  bool is_same = shipped != nullptr && found != nullptr ? shipped->fingerprint == found->fingerprint
                                                        : shipped == found;
  if (is_same) return VarStep::kNothing;
  bool unchanged = is_unchanged(before, found);
  if (shipped == nullptr) return unchanged ? VarStep::kRemove : VarStep::kLeave;
  if (policy == VarPolicy::kReplaced) return VarStep::kPut;
  // A service whose directory is missing fails, and an empty directory is nobody's data.
  if (found == nullptr && shipped->is_directory()) return VarStep::kPut;
  if (!unchanged) return VarStep::kLeave;
  if (found == nullptr) return VarStep::kPut;
  // What a release has put in place of another's is undone by one that would not have, so that a
  // rollback from the first release with a stronger policy finds its own files.
  bool replaces =
      policy == VarPolicy::kReplacedUnlessChanged || before->policy != VarPolicy::kMissingOnly;
  return replaces ? VarStep::kPut : VarStep::kLeave;
}

}  // namespace cfs::deployer
