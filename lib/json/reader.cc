// SPDX-License-Identifier: Apache-2.0
#include "lib/json/reader.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace cfs::json {
namespace {

// Builds a Value from the parser's events. The only code that nlohmann-json calls back; it is used
// as a tokenizer, so that limits hold before memory is spent and duplicate keys are seen.
class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit Builder(const Limits& limits) : limits_(limits) {}

  bool null() override { return add(Value()) != nullptr; }
  bool boolean(bool value) override { return add(Value(value)) != nullptr; }
  bool number_integer(number_integer_t value) override {
    if (value < -kMaxInteger) return fail("an integer is out of range");
    return add(Value(int64_t{value})) != nullptr;
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (value > uint64_t{kMaxInteger}) return fail("an integer is out of range");
    return add(Value(uint64_t{value})) != nullptr;
  }
  bool number_float(number_float_t /*value*/, const string_t& text) override {
    return fail(fmt::format("the number {} is not an integer in range", text.substr(0, 40)));
  }
  bool string(string_t& value) override { return add(Value(std::move(value))) != nullptr; }
  bool binary(binary_t& /*value*/) override { return fail("binary values are not JSON"); }

  bool start_object(std::size_t /*count*/) override { return open(Value::Object()); }
  bool key(string_t& value) override {
    if (open_.back()->as<Value::Object>()->contains(value)) {
      return fail(fmt::format("the key '{}' occurs twice", value.substr(0, 64)));
    }
    key_ = std::move(value);
    return true;
  }
  bool end_object() override { return close(); }
  bool start_array(std::size_t /*count*/) override { return open(Value::Array()); }
  bool end_array() override { return close(); }

  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const nlohmann::detail::exception& /*error*/) override {
    return fail(fmt::format("no valid JSON at byte {}", position));
  }

  [[nodiscard]] const std::string& problem() const { return problem_; }
  Value take() { return std::move(root_); }

 private:
  // Adds a value to the container that is open. Null after an error.
  Value* add(Value value) {
    if (++values_ > limits_.values) {
      fail(fmt::format("more than {} values", limits_.values));
      return nullptr;
    }
    if (open_.empty()) return &(root_ = std::move(value));
    if (auto* array = open_.back()->as<Value::Array>()) {
      return &array->emplace_back(std::move(value));
    }
    auto* object = open_.back()->as<Value::Object>();
    return &object->emplace(std::move(key_), std::move(value)).first->second;
  }
  bool open(Value container) {
    if (open_.size() >= limits_.depth) {
      return fail(fmt::format("nested deeper than {}", limits_.depth));
    }
    // The pointers in open_ stay valid: a container grows only while it is the innermost one.
    Value* added = add(std::move(container));
    if (added == nullptr) return false;
    open_.push_back(added);
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }
  bool fail(std::string problem) {
    problem_ = std::move(problem);
    return false;
  }

  const Limits& limits_;
  Value root_;
  std::vector<Value*> open_;
  std::string key_;
  size_t values_ = 0;
  std::string problem_;
};

Error corrupt(std::string_view what, std::string_view problem) {
  return make_error(ErrorCode::kCorrupt, fmt::format("{}: {}", what, problem));
}

}  // namespace

Result<Value> parse(std::string_view text, const Limits& limits, std::string_view what) {
  if (text.size() > limits.size_bytes) {
    return corrupt(what, fmt::format("larger than {} bytes", limits.size_bytes));
  }
  // The parser would take NUL for the end of the text and skip a byte order mark.
  if (text.find('\0') != std::string_view::npos || text.starts_with("\xef\xbb\xbf")) {
    return corrupt(what, "no valid JSON: NUL byte or byte order mark");
  }
  Builder builder(limits);
  try {
    if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder,
                                   nlohmann::json::input_format_t::json, /*strict=*/true)) {
      return corrupt(what, builder.problem());
    }
  } catch (const std::exception& error) {
    return corrupt(what, error.what());
  }
  return builder.take();
}

Error Reader::refuse(std::string_view problem) const {
  if (path_.empty()) return corrupt(what_, problem);
  return make_error(ErrorCode::kCorrupt, fmt::format("{}: '{}' {}", what_, path_, problem));
}

Result<std::optional<Reader>> Reader::optional_member(std::string_view key) const {
  const auto* object = value_->as<Value::Object>();
  if (object == nullptr) return refuse("must be an object");
  auto found = object->find(key);
  if (found == object->end()) return std::optional<Reader>();
  Reader reader(found->second, what_);
  reader.path_ = path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
  return std::optional<Reader>(std::move(reader));
}

Result<Reader> Reader::member(std::string_view key) const {
  std::optional<Reader> found = CFS_TRY(optional_member(key));
  if (!found) {
    return corrupt(what_, fmt::format("'{}{}{}' is missing", path_, path_.empty() ? "" : ".", key));
  }
  return std::move(*found);
}

Result<bool> Reader::boolean() const {
  const auto* boolean = value_->as<bool>();
  if (boolean == nullptr) return refuse("must be true or false");
  return *boolean;
}

Result<uint64_t> Reader::integer(uint64_t min, uint64_t max) const {
  const auto* integer = value_->as<int64_t>();
  if (integer == nullptr || *integer < 0 || static_cast<uint64_t>(*integer) < min ||
      static_cast<uint64_t>(*integer) > max) {
    return refuse(fmt::format("must be an integer from {} to {}", min, max));
  }
  return static_cast<uint64_t>(*integer);
}

Result<std::string> Reader::text(size_t max_bytes) const {
  const auto* text = value_->as<std::string>();
  if (text == nullptr || text->size() > max_bytes) {
    return refuse(fmt::format("must be a string of at most {} bytes", max_bytes));
  }
  return *text;
}

Result<verity::Sha256Digest> Reader::sha256() const {
  const auto* text = value_->as<std::string>();
  if (text != nullptr) {
    std::optional<verity::Sha256Digest> digest = verity::Sha256Digest::parse(*text);
    if (digest && digest->hex() == *text) return *digest;
  }
  return refuse("must be 64 lower-case hex digits");
}

Result<std::vector<Reader>> Reader::elements(size_t max_count) const {
  const auto* array = value_->as<Value::Array>();
  if (array == nullptr || array->size() > max_count) {
    return refuse(fmt::format("must be an array of at most {} elements", max_count));
  }
  std::vector<Reader> readers;
  for (const Value& element : *array) {
    Reader& reader = readers.emplace_back(element, what_);
    reader.path_ = fmt::format("{}[{}]", path_, readers.size() - 1);
  }
  return readers;
}

Result<std::vector<std::pair<std::string, Reader>>> Reader::members(size_t max_count) const {
  const auto* object = value_->as<Value::Object>();
  if (object == nullptr || object->size() > max_count) {
    return refuse(fmt::format("must be an object of at most {} members", max_count));
  }
  std::vector<std::pair<std::string, Reader>> readers;
  for (const auto& [key, member] : *object) {
    Reader reader(member, what_);
    reader.path_ = path_.empty() ? key : fmt::format("{}.{}", path_, key);
    readers.emplace_back(key, std::move(reader));
  }
  return readers;
}

}  // namespace cfs::json
