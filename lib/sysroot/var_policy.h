// SPDX-License-Identifier: Apache-2.0
// How what an image ships for /var comes into the /var of a device: `/usr/lib/cfs/var.conf`
// (docs/FORMATS.md). cfs-build writes it, cfs-deploy obeys it on the device.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"

namespace cfs::sysroot {

/// What an image ships for /var, as files of the image; relative to its root.
inline constexpr const char* kFactoryVar = "usr/share/factory/var";
inline constexpr const char* kVarPolicyFile = "usr/lib/cfs/var.conf";

inline constexpr size_t kMaxVarPolicyBytes = 1 << 20;

/// What happens at the first boot of a release to an entry that it ships. Each does what those
/// before it do. Whatever the policy, what the device has removed stays removed unless it is a
/// directory or kReplaced, and what a release does not ship any more goes if the device has not
/// changed it.
enum class VarPolicy {
  kMissingOnly,            ///< arrives where there is nothing
  kReplacedUnlessChanged,  ///< replaces what an earlier release brought
  kReplaced,               ///< replaces whatever is there
};
inline constexpr std::string_view kVarPolicyNames[] = {"missing-only", "replaced-unless-changed",
                                                       "replaced"};

[[nodiscard]] std::string_view policy_name(VarPolicy policy);
[[nodiscard]] std::optional<VarPolicy> policy_of_name(std::string_view name);

/// The policy of a path, and of all below it for which there is no rule of its own.
struct VarRule {
  std::string path;  ///< "/var/www"
  VarPolicy policy = VarPolicy::kMissingOnly;
  bool operator==(const VarRule&) const = default;
};

/// Returns true for "/var/" and a plain path without a line break.
[[nodiscard]] bool is_var_path(std::string_view path);

/// The policy of `path`: of the rule for it, or for the nearest directory above it; without one
/// kMissingOnly.
[[nodiscard]] VarPolicy policy_of(const std::vector<VarRule>& rules, std::string_view path);

/// Sorted by path, none twice. Errors: kCorrupt. Trust: input is attacker-controlled.
[[nodiscard]] Result<std::vector<VarRule>> parse_var_rules(std::string_view text);
/// Exactly the text that parse_var_rules() takes. Errors: kInvalidInput (a rule is broken, or two
/// have one path).
[[nodiscard]] Result<std::string> serialise_var_rules(std::vector<VarRule> rules);

}  // namespace cfs::sysroot
