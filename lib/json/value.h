// SPDX-License-Identifier: Apache-2.0
// JSON that can be hashed and signed: one value, one text. There are no floating-point numbers, and
// integers stay below 2^53 in size, so that every JSON implementation reads the same number.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace cfs::json {

/// The largest integer in any of our documents: 2^53 - 1 (RFC 8259 §6, interoperable integers).
constexpr int64_t kMaxInteger = (int64_t{1} << 53) - 1;

/// A JSON value.
class Value {
 public:
  using Array = std::vector<Value>;
  using Object = std::map<std::string, Value, std::less<>>;  ///< sorted by bytes
  using Null = std::monostate;

  Value() = default;
  Value(bool value) : value_(value) {}                           // NOLINT: literals read as JSON
  Value(int value) : value_(int64_t{value}) {}                   // NOLINT
  Value(int64_t value) : value_(value) {}                        // NOLINT
  Value(uint64_t value);                                         // NOLINT: ≤ kMaxInteger, checked
  Value(const char* value) : value_(std::string(value)) {}       // NOLINT
  Value(std::string value) : value_(std::move(value)) {}         // NOLINT
  Value(std::string_view value) : value_(std::string(value)) {}  // NOLINT
  Value(Array value) : value_(std::move(value)) {}               // NOLINT
  Value(Object value) : value_(std::move(value)) {}              // NOLINT

  /// The value if it has that type, else null.
  template <typename T>
  [[nodiscard]] const T* as() const {
    return std::get_if<T>(&value_);
  }
  template <typename T>
  [[nodiscard]] T* as() {
    return std::get_if<T>(&value_);
  }
  [[nodiscard]] bool is_null() const { return value_.index() == 0; }

  bool operator==(const Value&) const = default;

 private:
  std::variant<Null, bool, int64_t, std::string, Array, Object> value_;
};

}  // namespace cfs::json
