// SPDX-License-Identifier: Apache-2.0
// A strict reader over yaml-cpp, which by itself keeps duplicate keys silently, answers missing
// keys with empty values and counts lines from 0. yaml.cc is the only file that includes yaml-cpp.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"

namespace cfs::builder {

class YamlMap;

/// A value in a YAML document, with the place and the key path that errors name. A cheap handle;
/// keeps its document alive.
class YamlValue {
 public:
  /// Parses one document. `file_name` is for messages only.
  /// Errors: kInvalidInput "FILE:LINE:COLUMN: …" (1-based); also for tags and several documents.
  [[nodiscard]] static Result<YamlValue> parse(const std::string& text,
                                               const std::string& file_name);

  /// The text of a scalar, as written ("0644" stays four characters). A null is a wrong type.
  [[nodiscard]] Result<std::string> string() const;
  /// A decimal integer in [min, max].
  [[nodiscard]] Result<int64_t> integer(int64_t min, int64_t max) const;
  /// `true` or `false`, nothing else, unquoted.
  [[nodiscard]] Result<bool> boolean() const;
  [[nodiscard]] Result<std::vector<YamlValue>> list() const;
  [[nodiscard]] Result<std::vector<std::string>> string_list() const;
  /// The entries of a map that has no other keys than `known_keys`, and none twice.
  [[nodiscard]] Result<YamlMap> map(std::initializer_list<std::string_view> known_keys) const;

  /// kInvalidInput "FILE:LINE:COLUMN: KEY.PATH: message".
  [[nodiscard]] Error error(const std::string& message) const;

 private:
  friend class YamlMap;
  struct Node;
  YamlValue(std::shared_ptr<const Node> node, std::string path);
  std::shared_ptr<const Node> node_;
  std::string path_;
};

/// The entries of one map.
class YamlMap {
 public:
  /// The value of `key`, or nothing when it is absent.
  [[nodiscard]] std::optional<YamlValue> find(std::string_view key) const;
  /// Errors: kInvalidInput, "missing key".
  [[nodiscard]] Result<YamlValue> require(std::string_view key) const;
  [[nodiscard]] const YamlValue& value() const { return value_; }

 private:
  friend class YamlValue;
  explicit YamlMap(YamlValue value) : value_(std::move(value)) {}
  YamlValue value_;
  std::vector<std::pair<std::string, YamlValue>> entries_;
};

/// The word of `words` that `typed` was probably meant to be (few edits away), or empty.
[[nodiscard]] std::string nearest_word(std::string_view typed,
                                       std::span<const std::string_view> words);

}  // namespace cfs::builder
