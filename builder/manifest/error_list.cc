// SPDX-License-Identifier: Apache-2.0
#include "builder/manifest/error_list.h"

#include <fmt/format.h>

#include <algorithm>

namespace cfs::builder {
namespace {

constexpr size_t kMaxShown = 20;

}  // namespace

Error combine_errors(const std::string& subject, std::vector<Error> errors) {
  if (errors.size() == 1) return std::move(errors.front());
  std::string which =
      errors.size() > kMaxShown ? fmt::format(", of which the first {} are", kMaxShown) : "";
  std::string text = fmt::format("{} has {} errors{}:", subject, errors.size(), which);
  for (size_t i = 0; i < std::min(errors.size(), kMaxShown); ++i) {
    text += "\n" + errors[i].message;
    if (!errors[i].hint.empty()) text += " (" + errors[i].hint + ")";
  }
  return make_error(errors.front().code, std::move(text));
}

}  // namespace cfs::builder
