// SPDX-License-Identifier: Apache-2.0
// A strict reader over yaml-cpp, which by itself keeps duplicate keys silently, answers missing
// keys with empty values and counts lines from 0. value.cc is the only file that includes yaml-cpp.
//
// A document collects what is wrong with it: whoever reads goes on after a mistake, and asks for
// all of them at the end.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/result.h"

namespace cfs::yaml {

class Map;

/// A value in a YAML document, with the place and the key path that errors name. A cheap handle;
/// keeps its document alive. One thread a document.
class Value {
 public:
  /// Parses one document. `file_name` is for messages only.
  /// Errors: kInvalidInput "FILE:LINE:COLUMN: …" (1-based); also for tags and several documents.
  /// A syntax error says which bracket, quote or block is open there, and since which line.
  [[nodiscard]] static Result<Value> parse(const std::string& text, const std::string& file_name);

  /// The text of a scalar, as written ("0644" stays four characters). A null is a wrong type.
  [[nodiscard]] Result<std::string> string() const;
  /// Returns true if the value is a scalar in quotes.
  [[nodiscard]] bool is_quoted() const;
  /// A decimal integer in [min, max], unquoted, without leading zeros.
  [[nodiscard]] Result<int64_t> integer(int64_t min, int64_t max) const;
  /// `true` or `false`, nothing else, unquoted.
  [[nodiscard]] Result<bool> boolean() const;

  /// The items of a list. Something else is reported and has no items.
  [[nodiscard]] std::vector<Value> items() const;
  /// Reports a list without items.
  void refuse_empty_list() const;
  /// The entries of a map whose key is one of `known_keys`. Other keys, a key that comes again, and
  /// something else than a map are reported.
  [[nodiscard]] Map map(std::span<const std::string_view> known_keys) const;
  [[nodiscard]] Map map(std::initializer_list<std::string_view> known_keys) const;

  /// Puts what `reader` makes of this value into `target`, or reports its error and returns false.
  /// `reader`: Result<T>(const Value&).
  template <typename T, typename Reader>
  bool read(T& target, const Reader& reader) const {
    auto result = reader(*this);
    if (result) {
      target = *std::move(result);
      return true;
    }
    report(std::move(result).error());
    return false;
  }

  /// "FILE:LINE:COLUMN: KEY.PATH: ", which begins the messages about this value.
  [[nodiscard]] std::string place() const;
  /// "FILE:LINE", where the value stands.
  [[nodiscard]] std::string file_and_line() const;
  /// kInvalidInput "FILE:LINE:COLUMN: KEY.PATH: message".
  [[nodiscard]] Error error(const std::string& message) const;

  /// Adds to what is wrong with the document.
  void report(Error error) const;
  /// All that was reported, in the order of the text: one error as it is; of several a list, hints
  /// included, of the first 20.
  [[nodiscard]] Result<> reported() const;

 private:
  friend class Map;
  struct Document;
  struct Node;
  Value(std::shared_ptr<const Node> node, std::string path);
  /// As string(); the error says that `expected` is expected.
  [[nodiscard]] Result<std::string> scalar(std::string_view expected) const;
  std::shared_ptr<const Node> node_;
  std::string path_;
};

/// The entries of one map.
class Map {
 public:
  /// The map itself.
  [[nodiscard]] const Value& value() const { return value_; }
  /// The value of `key`, or nothing when it is absent.
  [[nodiscard]] std::optional<Value> find(std::string_view key) const;
  [[nodiscard]] bool has(std::string_view key) const { return find(key).has_value(); }
  /// As find(); absence is reported.
  [[nodiscard]] std::optional<Value> require(std::string_view key) const;

  /// Reads the value of `key` (Value::read). Returns false if there is none, or a wrong one.
  template <typename T, typename Reader>
  bool read(std::string_view key, T& target, const Reader& reader) const {
    std::optional<Value> value = find(key);
    return value && value->read(target, reader);
  }
  /// As read(); absence is reported.
  template <typename T, typename Reader>
  bool require(std::string_view key, T& target, const Reader& reader) const {
    std::optional<Value> value = require(key);
    return value && value->read(target, reader);
  }
  /// Replaces `target` by the items of the list at `key`, if there is one.
  template <typename T, typename Reader>
  void read_list(std::string_view key, std::vector<T>& target, const Reader& reader) const {
    std::optional<Value> list = find(key);
    if (!list) return;
    target.clear();
    for (const Value& item : list->items()) {
      T read;
      if (item.read(read, reader)) target.push_back(std::move(read));
    }
  }

 private:
  friend class Value;
  explicit Map(Value value) : value_(std::move(value)) {}
  Value value_;
  bool is_map_ = true;  ///< else that was reported, and nothing is missing
  std::vector<std::pair<std::string, Value>> entries_;
};

}  // namespace cfs::yaml
