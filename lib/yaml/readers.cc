// SPDX-License-Identifier: Apache-2.0
#include "lib/yaml/readers.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/base/nearest_word.h"

namespace cfs::yaml {

Result<std::string> read_string(const Value& value) { return value.string(); }

Result<bool> read_boolean(const Value& value) { return value.boolean(); }

Result<int64_t> IntegerReader::operator()(const Value& value) const {
  return value.integer(min, max);
}

Result<std::string> ChoiceReader::operator()(const Value& value) const {
  std::string text = CFS_TRY(value.string());
  if (std::find(choices.begin(), choices.end(), text) != choices.end()) return text;
  std::string meant = nearest_word(text, choices);
  return value.error(fmt::format("bad value '{}'", text))
      .with_hint(meant.empty() ? fmt::format("one of: {}", fmt::join(choices, ", "))
                               : "did you mean '" + meant + "'?");
}

}  // namespace cfs::yaml
