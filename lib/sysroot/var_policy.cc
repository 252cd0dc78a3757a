// SPDX-License-Identifier: Apache-2.0
#include "lib/sysroot/var_policy.h"

#include <algorithm>
#include <iterator>

#include "lib/base/relative_path.h"

namespace cfs::sysroot {
namespace {

constexpr std::string_view kFirstLine = "cfs-var 1\n";
constexpr std::string_view kVarPrefix = "/var/";

Error damaged(const std::string& what) {
  return make_error(ErrorCode::kCorrupt, "var.conf: " + what);
}

}  // namespace

std::string_view policy_name(VarPolicy policy) {
  return kVarPolicyNames[static_cast<size_t>(policy)];
}

std::optional<VarPolicy> policy_of_name(std::string_view name) {
  const auto* found = std::find(std::begin(kVarPolicyNames), std::end(kVarPolicyNames), name);
  if (found == std::end(kVarPolicyNames)) return std::nullopt;
  return static_cast<VarPolicy>(found - std::begin(kVarPolicyNames));
}

bool is_var_path(std::string_view path) {
  return path.starts_with(kVarPrefix) && is_plain_path(path.substr(kVarPrefix.size())) &&
         path.find('\n') == std::string_view::npos;
}

VarPolicy policy_of(const std::vector<VarRule>& rules, std::string_view path) {
  const VarRule* nearest = nullptr;
  for (const VarRule& rule : rules) {
    bool covers = path.starts_with(rule.path) &&
                  (path.size() == rule.path.size() || path[rule.path.size()] == '/');
    if (covers && (nearest == nullptr || nearest->path.size() < rule.path.size())) nearest = &rule;
  }
  return nearest != nullptr ? nearest->policy : VarPolicy::kMissingOnly;
}

Result<std::vector<VarRule>> parse_var_rules(std::string_view text) {
  if (text.size() > kMaxVarPolicyBytes) return damaged("too large");
  if (!text.starts_with(kFirstLine)) return damaged("does not begin with the line 'cfs-var 1'");
  text.remove_prefix(kFirstLine.size());
  std::vector<VarRule> rules;
  while (!text.empty()) {
    size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    size_t blank = line.find(' ');
    std::optional<VarPolicy> policy = policy_of_name(line.substr(0, blank));
    if (end == std::string_view::npos || blank == std::string_view::npos || !policy ||
        !is_var_path(line.substr(blank + 1))) {
      return damaged("every other line must be 'POLICY /var/…'");
    }
    std::string path(line.substr(blank + 1));
    if (!rules.empty() && rules.back().path >= path) return damaged("the paths are not sorted");
    rules.push_back({.path = std::move(path), .policy = *policy});
    text.remove_prefix(end + 1);
  }
  return rules;
}

Result<std::string> serialise_var_rules(std::vector<VarRule> rules) {
  std::sort(rules.begin(), rules.end(),
            [](const VarRule& a, const VarRule& b) { return a.path < b.path; });
  std::string text(kFirstLine);
  for (const VarRule& rule : rules) {
    text += std::string(policy_name(rule.policy)) + " " + rule.path + "\n";
  }
  Result<std::vector<VarRule>> parsed = parse_var_rules(text);
  if (parsed && *parsed == rules) return text;
  Error error = parsed ? damaged("a path holds a line break") : Error(std::move(parsed).error());
  error.code = ErrorCode::kInvalidInput;
  return error;
}

}  // namespace cfs::sysroot
