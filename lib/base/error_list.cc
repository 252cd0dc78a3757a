// SPDX-License-Identifier: Apache-2.0
#include "lib/base/error_list.h"

#include <algorithm>

namespace cfs {
namespace {

constexpr size_t kMaxShown = 20;

}  // namespace

Error combine_errors(const std::string& subject, std::vector<Error> errors) {
  if (errors.size() == 1) return std::move(errors.front());
  std::string text = subject + " has " + std::to_string(errors.size()) + " errors";
  if (errors.size() > kMaxShown) {
    text += ", of which the first " + std::to_string(kMaxShown) + " are";
  }
  text += ":";
  for (size_t i = 0; i < std::min(errors.size(), kMaxShown); ++i) {
    text += "\n" + errors[i].message;
    if (!errors[i].hint.empty()) text += " (" + errors[i].hint + ")";
  }
  return make_error(errors.front().code, std::move(text));
}

}  // namespace cfs
