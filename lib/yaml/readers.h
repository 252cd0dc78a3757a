// SPDX-License-Identifier: Apache-2.0
// What values of every document may look like: readers for Value::read(). Each fails with
// kInvalidInput, the place of the value, what is wrong, and where it helps a hint.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "lib/yaml/value.h"

namespace cfs::yaml {

[[nodiscard]] Result<std::string> read_string(const Value& value);
[[nodiscard]] Result<bool> read_boolean(const Value& value);

/// An integer in [min, max].
struct IntegerReader {
  int64_t min = 0;
  int64_t max = 0;
  Result<int64_t> operator()(const Value& value) const;
};

/// One of `choices`.
struct ChoiceReader {
  std::span<const std::string_view> choices;
  Result<std::string> operator()(const Value& value) const;
};

}  // namespace cfs::yaml
