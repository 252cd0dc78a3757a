// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "builder/manifest/manifest.h"
#include "builder/rootfs.h"
#include "lib/base/result.h"

namespace cfs::builder {

/// Finds entries below what an earlier rule makes a regular file, unless a rule between them
/// removes or replaces that. Looks at the rules alone, before there is a tree.
/// Errors: kInvalidInput with the rule's place in the manifest.
[[nodiscard]] Result<> check_rules(std::span<const FileRule> rules);

/// Applies the manifest's rules in order. New entries get the time stamp `source_date_epoch`.
/// Errors: kInvalidInput with the rule's place in the manifest: a pattern that matches nothing and
/// is not optional, an entry that cannot be made.
[[nodiscard]] Result<> apply_rules(std::span<const FileRule> rules, int64_t source_date_epoch,
                                   Rootfs& rootfs);

}  // namespace cfs::builder
