// SPDX-License-Identifier: Apache-2.0
#include "builder/reports/var.h"

#include <fmt/format.h>

namespace cfs::builder {
namespace {

constexpr size_t kPathsShown = 3;

}  // namespace

std::string var_report(const std::vector<sysroot::VarRule>& shipped) {
  std::string text;
  for (const sysroot::VarRule& entry : shipped) {
    text += fmt::format("{} {}\n", sysroot::policy_name(entry.policy), entry.path);
  }
  return text;
}

std::string var_summary(const std::vector<sysroot::VarRule>& shipped) {
  std::vector<std::string> kept;
  for (const sysroot::VarRule& entry : shipped) {
    if (entry.policy == sysroot::VarPolicy::kMissingOnly) kept.push_back(entry.path);
  }
  if (kept.empty()) return "";
  std::string names;
  for (size_t i = 0; i < kept.size() && i < kPathsShown; ++i) {
    names += (i == 0 ? "" : ", ") + kept[i];
  }
  if (kept.size() > kPathsShown) names += fmt::format(" and {} more", kept.size() - kPathsShown);
  return fmt::format(
      "var      {} of {} files stay as they are on devices that have them "
      "(var.txt): {}\n",
      kept.size(), shipped.size(), names);
}

}  // namespace cfs::builder
