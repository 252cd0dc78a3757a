// SPDX-License-Identifier: Apache-2.0
// Checks that every device has.
#pragma once

#include <span>
#include <string>

#include "deployer/health/health.h"

namespace cfs::deployer {

struct BuiltInCheck {
  const char* name;
  CheckKind kind;
  const char* meaning;  ///< for docs/HEALTH.md
  /// Returns what there is to tell of a good state, mostly nothing. An error is a failed check.
  Result<std::string> (*run)(const Environment& environment, const HealthOptions& options);
};

/// Required is what a device needs in order to get its next update; anything else tells nothing
/// that going back to the release before would mend.
[[nodiscard]] std::span<const BuiltInCheck> built_in_checks();

}  // namespace cfs::deployer
