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

namespace cfs::release {

/// The largest integer in any of our documents: 2^53 - 1 (RFC 8259 §6, interoperable integers).
constexpr int64_t kMaxInteger = (int64_t{1} << 53) - 1;

/// A JSON value.
class Json {
 public:
  using Array = std::vector<Json>;
  using Object = std::map<std::string, Json, std::less<>>;  ///< sorted by bytes
  using Null = std::monostate;

  Json() = default;
  Json(bool value) : value_(value) {}                           // NOLINT: literals read as JSON
  Json(int value) : value_(int64_t{value}) {}                   // NOLINT
  Json(int64_t value) : value_(value) {}                        // NOLINT
  Json(uint64_t value);                                         // NOLINT: ≤ kMaxInteger, checked
  Json(const char* value) : value_(std::string(value)) {}       // NOLINT
  Json(std::string value) : value_(std::move(value)) {}         // NOLINT
  Json(std::string_view value) : value_(std::string(value)) {}  // NOLINT
  Json(Array value) : value_(std::move(value)) {}               // NOLINT
  Json(Object value) : value_(std::move(value)) {}              // NOLINT

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

  bool operator==(const Json&) const = default;

 private:
  std::variant<Null, bool, int64_t, std::string, Array, Object> value_;
};

/// What a parser accepts at most.
struct JsonLimits {
  size_t size_bytes = 64 << 10;
  unsigned depth = 16;
  size_t values = 1 << 20;  ///< values of all kinds together
};

/// Parses one JSON text. Refused: floating-point numbers, integers beyond ±kMaxInteger, duplicate
/// keys, invalid UTF-8, anything after the value, anything beyond `limits`.
/// `what` names the document in errors ("release.json").
/// Errors: kCorrupt. Spec: RFC 8259. Trust: input is attacker-controlled.
[[nodiscard]] Result<Json> parse_json(std::string_view text, const JsonLimits& limits,
                                      std::string_view what);

/// The canonical text: keys sorted by bytes, no white space, only `"`, `\` and control characters
/// escaped. Without a newline at the end. Parsing it gives `value` again.
[[nodiscard]] std::string to_canonical_json(const Json& value);

/// The bytes that TUF signatures and key ids are made over: as to_canonical_json, but only `"` and
/// `\` are escaped, so that with control characters in a string it is no JSON any more.
/// Spec: TUF 1.0.34 §4.2 "canonical JSON" (OLPC).
[[nodiscard]] std::string to_signing_form(const Json& value);

/// Looks into a parsed document; every refusal is kCorrupt and names the document and the key path:
/// "release.json: 'image.size' must be an integer from 0 to …". A view: the Json must outlive it.
class JsonReader {
 public:
  JsonReader(const Json& value, std::string what) : value_(&value), what_(std::move(what)) {}

  /// A member that must exist / may exist. Error when this value is not an object.
  [[nodiscard]] Result<JsonReader> member(std::string_view key) const;
  [[nodiscard]] Result<std::optional<JsonReader>> optional_member(std::string_view key) const;

  [[nodiscard]] Result<bool> boolean() const;
  [[nodiscard]] Result<uint64_t> integer(uint64_t min = 0, uint64_t max = kMaxInteger) const;
  [[nodiscard]] Result<std::string> text(size_t max_bytes) const;
  /// 64 lower-case hex digits.
  [[nodiscard]] Result<verity::Sha256Digest> sha256() const;
  [[nodiscard]] Result<std::vector<JsonReader>> elements(size_t max_count) const;
  /// Members of an object, sorted by key.
  [[nodiscard]] Result<std::vector<std::pair<std::string, JsonReader>>> members(
      size_t max_count) const;

  [[nodiscard]] const Json& value() const { return *value_; }
  /// kCorrupt: "<document>: '<key path>' <problem>".
  [[nodiscard]] Error refuse(std::string_view problem) const;

 private:
  const Json* value_;
  std::string what_;
  std::string path_;
};

}  // namespace cfs::release
