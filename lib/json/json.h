// SPDX-License-Identifier: Apache-2.0
// JSON that can be hashed and signed: one value, one text. There are no floating-point numbers, and
// integers stay below 2^53 in size, so that every JSON implementation reads the same number.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "lib/base/result.h"
#include "lib/verity/digest.h"

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

/// What a parser accepts at most.
struct Limits {
  size_t size_bytes = 64 << 10;
  unsigned depth = 16;
  size_t values = 1 << 20;  ///< values of all kinds together
};

/// Parses one JSON text. Refused: floating-point numbers, integers beyond ±kMaxInteger, duplicate
/// keys, invalid UTF-8, anything after the value, anything beyond `limits`.
/// `what` names the document in errors ("release.json").
/// Errors: kCorrupt. Spec: RFC 8259. Trust: input is attacker-controlled.
[[nodiscard]] Result<Value> parse(std::string_view text, const Limits& limits,
                                  std::string_view what);

/// The canonical text: keys sorted by bytes, no white space, only `"`, `\` and control characters
/// escaped. Without a newline at the end. Parsing it gives `value` again.
[[nodiscard]] std::string to_canonical(const Value& value);

/// The bytes that TUF signatures and key ids are made over: as to_canonical, but only `"` and
/// `\` are escaped, so that with control characters in a string it is no JSON any more.
/// Spec: TUF 1.0.34 §4.2 "canonical JSON" (OLPC).
[[nodiscard]] std::string to_signing_form(const Value& value);

/// Looks into a parsed document; every refusal is kCorrupt and names the document and the key path:
/// "release.json: 'image.size' must be an integer from 0 to …". A view: the Value must outlive it.
class Reader {
 public:
  Reader(const Value& value, std::string what) : value_(&value), what_(std::move(what)) {}

  /// A member that must exist / may exist. Error when this value is not an object.
  [[nodiscard]] Result<Reader> member(std::string_view key) const;
  [[nodiscard]] Result<std::optional<Reader>> optional_member(std::string_view key) const;

  [[nodiscard]] Result<bool> boolean() const;
  [[nodiscard]] Result<uint64_t> integer(uint64_t min = 0, uint64_t max = kMaxInteger) const;
  [[nodiscard]] Result<std::string> text(size_t max_bytes) const;
  /// 64 lower-case hex digits.
  [[nodiscard]] Result<verity::Sha256Digest> sha256() const;
  [[nodiscard]] Result<std::vector<Reader>> elements(size_t max_count) const;
  /// Members of an object, sorted by key.
  [[nodiscard]] Result<std::vector<std::pair<std::string, Reader>>> members(size_t max_count) const;

  [[nodiscard]] const Value& value() const { return *value_; }
  /// kCorrupt: "<document>: '<key path>' <problem>".
  [[nodiscard]] Error refuse(std::string_view problem) const;

 private:
  const Value* value_;
  std::string what_;
  std::string path_;
};

}  // namespace cfs::json
