// SPDX-License-Identifier: Apache-2.0
#include "lib/yaml/value.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>

#include "lib/base/error_list.h"
#include "lib/base/nearest_word.h"
#include "lib/base/utf8.h"
#include "lib/yaml/open_part.h"

namespace cfs::yaml {

/// What all values of one text share.
struct Value::Document {
  struct Problem {
    YAML::Mark mark;
    Error error;
  };
  std::string file_name;
  std::vector<Problem> problems;
};

struct Value::Node {
  YAML::Node yaml;
  std::shared_ptr<Document> document;
};

namespace {

constexpr size_t kMaxExpandedBytes = 4 << 20;

std::string mark_text(const std::string& file_name, const YAML::Mark& mark) {
  if (mark.is_null()) return file_name;
  return fmt::format("{}:{}:{}", file_name, mark.line + 1, mark.column + 1);
}

const char* type_name(const YAML::Node& node) {
  switch (node.Type()) {
    case YAML::NodeType::Scalar:
      return "a scalar";
    case YAML::NodeType::Sequence:
      return "a list";
    case YAML::NodeType::Map:
      return "a map";
    default:
      return "nothing";
  }
}

constexpr const char* kQuotedTag = "!";  // and "?" plain; anything else was written as a tag

bool has_tag(const YAML::Node& node) {
  const std::string& tag = node.Tag();
  return !tag.empty() && tag != "?" && tag != kQuotedTag;
}

std::string join(std::span<const std::string_view> words) {
  return fmt::format("{}", fmt::join(words, ", "));
}

/// yaml-cpp takes what is after a byte 4 for a comment, and lets through what no YAML text may
/// hold. Spec: YAML 1.2 §5.1.
Result<> check_characters(std::string_view text, const std::string& file_name) {
  size_t line = 1;
  size_t column = 1;
  while (!text.empty()) {
    size_t size = utf8_character_size(text);
    auto first = static_cast<unsigned char>(text[0]);
    bool control = (first < ' ' && first != '\t' && first != '\n' && first != '\r') || first == 127;
    if (size == 0 || control) {
      return make_error(
                 ErrorCode::kInvalidInput,
                 fmt::format("{}:{}:{}: {}", file_name, line, column,
                             size == 0 ? "the text is not UTF-8"
                                       : fmt::format("the control character {:#04x}", first)))
          .with_hint(size == 0 ? "" : "in double quotes it can be written as \\xNN");
    }
    ++column;
    if (first == '\n') {
      ++line;
      column = 1;
    }
    text.remove_prefix(size);
  }
  return {};
}

/// Returns true if line number `line`, counted from 0, begins with white space that has a tab in
/// it.
bool is_indented_by_tab(std::string_view text, int line) {
  for (; line > 0 && !text.empty(); --line) {
    text.remove_prefix(std::min(text.find('\n'), text.size() - 1) + 1);
  }
  return text.substr(0, text.find_first_not_of(" \t")).find('\t') != std::string_view::npos;
}

/// A few aliases of aliases make a short text endless; one of a node inside itself does.
Result<> check_expanded_size(const YAML::Node& document, const std::string& file_name) {
  size_t size_bytes = 0;
  std::vector<YAML::Node> todo = {document};
  while (!todo.empty()) {
    YAML::Node node = todo.back();  // a reference: it has nothing to move
    todo.pop_back();
    size_bytes += 1 + (node.IsScalar() ? node.Scalar().size() : 0);
    if (size_bytes + todo.size() > kMaxExpandedBytes) {
      return make_error(ErrorCode::kInvalidInput,
                        fmt::format("{}:1:1: with its aliases replaced by what they stand for, the "
                                    "document is larger than {} bytes",
                                    file_name, kMaxExpandedBytes));
    }
    for (const auto& entry : node) {
      if (node.IsMap()) {
        todo.push_back(entry.first);
        todo.push_back(entry.second);
      } else {
        todo.push_back(entry);
      }
    }
  }
  return {};
}

}  // namespace

Value::Value(std::shared_ptr<const Node> node, std::string path)
    : node_(std::move(node)), path_(std::move(path)) {}

std::string Value::place() const {
  std::string where = mark_text(node_->document->file_name, node_->yaml.Mark());
  return path_.empty() ? where + ": " : where + ": " + path_ + ": ";
}

std::string Value::file_and_line() const {
  return fmt::format("{}:{}", node_->document->file_name, node_->yaml.Mark().line + 1);
}

Error Value::error(const std::string& message) const {
  return make_error(ErrorCode::kInvalidInput, place() + message);
}

void Value::report(Error error) const {
  node_->document->problems.push_back({node_->yaml.Mark(), std::move(error)});
}

Result<> Value::reported() const {
  std::vector<Document::Problem> problems = node_->document->problems;
  if (problems.empty()) return {};
  std::stable_sort(problems.begin(), problems.end(), [](const auto& a, const auto& b) {
    return std::pair(a.mark.line, a.mark.column) < std::pair(b.mark.line, b.mark.column);
  });
  std::vector<Error> errors;
  for (Document::Problem& problem : problems) errors.push_back(std::move(problem.error));
  return combine_errors("'" + node_->document->file_name + "'", std::move(errors));
}

Result<Value> Value::parse(const std::string& text, const std::string& file_name) {
  CFS_TRY(check_characters(text, file_name));
  try {
    std::vector<YAML::Node> documents = YAML::LoadAll(text);
    if (documents.size() != 1) {
      return make_error(
          ErrorCode::kInvalidInput,
          fmt::format("{}:1:1: expected one YAML document, found {}", file_name, documents.size()));
    }
    CFS_TRY(check_expanded_size(documents[0], file_name));
    auto document = std::make_shared<Document>(Document{file_name, {}});
    return Value(std::make_shared<Node>(Node{documents[0], std::move(document)}), "");
  } catch (const YAML::Exception& exception) {
    const YAML::Mark& mark = exception.mark;
    std::string open;
    if (!mark.is_null()) {
      open = describe_open_part(text, static_cast<size_t>(mark.line),
                                static_cast<size_t>(mark.column));
    }
    return make_error(ErrorCode::kInvalidInput,
                      fmt::format("{}: {}{}{}", mark_text(file_name, mark), exception.msg,
                                  open.empty() ? "" : "; ", open))
        .with_hint(is_indented_by_tab(text, mark.line)
                       ? "YAML is indented with spaces, this line has a tab"
                       : "");
  }
}

Result<std::string> Value::scalar(std::string_view expected) const {
  if (has_tag(node_->yaml)) return error("YAML tags are not supported");
  if (!node_->yaml.IsScalar()) {
    return error(fmt::format("expected {}, found {}", expected, type_name(node_->yaml)));
  }
  return node_->yaml.Scalar();
}

Result<std::string> Value::string() const { return scalar("a string"); }

bool Value::is_quoted() const { return node_->yaml.IsScalar() && node_->yaml.Tag() == kQuotedTag; }

Result<int64_t> Value::integer(int64_t min, int64_t max) const {
  std::string text = CFS_TRY(scalar("an integer"));
  int64_t value = 0;
  auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  bool is_integer = failure == std::errc() && end == text.data() + text.size();
  if (!is_integer || is_quoted()) {
    return error(fmt::format("expected an integer, found '{}'", text))
        .with_hint(is_integer ? "remove the quotes" : "");
  }
  const std::string_view digits = std::string_view(text).substr(text[0] == '-' ? 1 : 0);
  if (digits.size() > 1 && digits[0] == '0') {
    return error(fmt::format("expected an integer, found '{}'", text))
        .with_hint("without leading zeros: some readers of YAML take it for octal, others do not");
  }
  if (value < min || value > max) {
    return error(fmt::format("{} is not in the range {} to {}", value, min, max));
  }
  return value;
}

Result<bool> Value::boolean() const {
  std::string text = CFS_TRY(scalar("true or false"));
  bool is_boolean = text == "true" || text == "false";
  if (is_boolean && !is_quoted()) return text == "true";
  return error(fmt::format("expected true or false, found '{}'", text))
      .with_hint(is_boolean ? "remove the quotes" : "");
}

std::vector<Value> Value::items() const {
  std::vector<Value> values;
  if (has_tag(node_->yaml)) {
    report(error("YAML tags are not supported"));
  } else if (!node_->yaml.IsSequence()) {
    report(error(fmt::format("expected a list, found {}", type_name(node_->yaml))));
  } else {
    for (const YAML::Node& item : node_->yaml) {
      values.push_back(Value(std::make_shared<Node>(Node{item, node_->document}),
                             fmt::format("{}[{}]", path_, values.size())));
    }
  }
  return values;
}

void Value::refuse_empty_list() const {
  if (node_->yaml.IsSequence() && node_->yaml.size() == 0) report(error("the list is empty"));
}

Map Value::map(std::span<const std::string_view> known_keys) const {
  Map map(*this);
  map.is_map_ = node_->yaml.IsMap() && !has_tag(node_->yaml);
  if (!map.is_map_) {
    report(error(has_tag(node_->yaml) ? "YAML tags are not supported"
                                      : fmt::format("expected a map with the keys {}, found {}",
                                                    join(known_keys), type_name(node_->yaml))));
    return map;
  }
  for (const auto& entry : node_->yaml) {
    Value key(std::make_shared<Node>(Node{entry.first, node_->document}), path_);
    std::string name;
    if (!key.read(name, [](const Value& value) { return value.string(); })) continue;
    key.path_ = path_.empty() ? name : path_ + "." + name;
    if (std::find(known_keys.begin(), known_keys.end(), name) == known_keys.end()) {
      std::string meant = nearest_word(name, known_keys);
      key.report(key.error(fmt::format("unknown key '{}'", name))
                     .with_hint(meant.empty() ? "known keys here: " + join(known_keys)
                                              : "did you mean '" + meant + "'?"));
      continue;
    }
    if (map.has(name)) {
      key.report(key.error(fmt::format("duplicate key '{}'", name)));
      continue;
    }
    Value value(std::make_shared<Node>(Node{entry.second, node_->document}), key.path_);
    map.entries_.emplace_back(std::move(name), std::move(value));
  }
  return map;
}

Map Value::map(std::initializer_list<std::string_view> known_keys) const {
  return map(std::span(known_keys.begin(), known_keys.size()));
}

std::optional<Value> Map::find(std::string_view key) const {
  for (const auto& [name, value] : entries_) {
    if (name == key) return value;
  }
  return std::nullopt;
}

std::optional<Value> Map::require(std::string_view key) const {
  std::optional<Value> value = find(key);
  if (!value && is_map_) value_.report(value_.error(fmt::format("missing key '{}'", key)));
  return value;
}

}  // namespace cfs::yaml
