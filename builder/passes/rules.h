// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>

#include "builder/contents.h"
#include "builder/manifest/manifest.h"
#include "lib/base/result.h"
#include "lib/tree/tree.h"

namespace cfs::builder {

/// Does the absolute `path` match `pattern`? `?` is one character and `*` any number of them, but
/// not '/'; `**` is any number of characters of any kind.
[[nodiscard]] bool glob_match(std::string_view pattern, std::string_view path);

/// Applies the manifest's rules in order. New entries get the time stamp `source_date_epoch`.
/// Errors: kInvalidInput with the rule's place in the manifest: a pattern that matches nothing and
/// is not optional, an entry that cannot be made.
[[nodiscard]] Result<> apply_rules(std::span<const FileRule> rules, int64_t source_date_epoch,
                                   tree::Tree& tree, Contents& contents);

}  // namespace cfs::builder
