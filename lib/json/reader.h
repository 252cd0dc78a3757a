// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/result.h"
#include "lib/json/value.h"
#include "lib/verity/digest.h"

namespace cfs::json {

/// Limits of a document.
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
