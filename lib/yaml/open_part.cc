// SPDX-License-Identifier: Apache-2.0
// A parser that fails says where it noticed, which for a forgotten bracket is the end of the text.
// So the text up to there is read again, by a scanner that knows only what opens and closes: quotes
// and brackets where a value may begin, comments, and block scalars, whose text means nothing.
#include "lib/yaml/open_part.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

namespace cfs::yaml {
namespace {

constexpr size_t kMaxShownBytes = 40;

class Scanner {
 public:
  void read_line(std::string_view line) {
    line_ = line;
    size_t indent = std::min(line.find_first_not_of(' '), line.size());
    bool is_blank = indent == line.size() || line[indent] == '#';
    size_t column = indent;
    if (quote_) {
      column = 0;
    } else if (flow_.empty()) {
      if (is_blank) return next_line();
      if (scalar_indent_ && indent > *scalar_indent_) return next_line();
      scalar_indent_.reset();
      while (!blocks_.empty() && blocks_.back().column >= indent) blocks_.pop_back();
      blocks_.push_back({line_number_, indent, std::string(line.substr(indent, kMaxShownBytes))});
    }
    scan(column, indent);
    next_line();
  }

  [[nodiscard]] std::string describe() const {
    auto say = [](const Open& open, const std::string& what) {
      return fmt::format("open since line {}, column {}: {}", open.line + 1, open.column + 1, what);
    };
    if (quote_) return say(*quote_, quote_->text == "'" ? "a single quote" : "a double quote");
    if (!flow_.empty()) return say(flow_.back(), "'" + flow_.back().text + "'");
    // The last line itself is where the parser stumbled.
    if (blocks_.size() < 2) return "";
    const Open& block = blocks_[blocks_.size() - 2];
    return say(block, "'" + block.text + "'");
  }

 private:
  struct Open {
    size_t line;
    size_t column;
    std::string text;
  };

  void next_line() { ++line_number_; }
  [[nodiscard]] char at(size_t column) const { return column < line_.size() ? line_[column] : ' '; }
  [[nodiscard]] bool ends_word(size_t column) const {
    return at(column) == ' ' || at(column) == '\t';
  }

  void scan(size_t column, size_t indent) {
    bool may_begin = true;  // a value, here
    for (; column < line_.size(); ++column) {
      char c = line_[column];
      bool begins_entry =
          may_begin && flow_.empty() && (c == '-' || c == '?') && ends_word(column + 1);
      if (quote_) {
        column = skip_quoted(column);
        may_begin = false;
      } else if (c == ' ' || c == '\t' || begins_entry) {
        continue;
      } else if (c == '#' && (column == 0 || ends_word(column - 1))) {
        return;
      } else if (may_begin && (c == '"' || c == '\'')) {
        quote_ = Open{line_number_, column, std::string(1, c)};
      } else if ((c == '[' || c == '{') && (may_begin || !flow_.empty())) {
        flow_.push_back({line_number_, column, std::string(1, c)});
        may_begin = true;
      } else if ((c == ']' || c == '}') && !flow_.empty()) {
        flow_.pop_back();
        may_begin = false;
      } else if ((c == ',' && !flow_.empty()) ||
                 (c == ':' && (ends_word(column + 1) || !flow_.empty()))) {
        may_begin = true;
      } else if (may_begin && (c == '&' || c == '!')) {
        while (column + 1 < line_.size() && !ends_word(column + 1)) ++column;
      } else if (may_begin && flow_.empty() && (c == '|' || c == '>')) {
        scalar_indent_ = indent;
        return;
      } else {
        may_begin = false;
      }
    }
  }

  /// From inside a quoted scalar to its closing quote, or to the end of the line.
  size_t skip_quoted(size_t column) {
    char closing = quote_->text[0];
    for (; column < line_.size(); ++column) {
      if (closing == '"' && line_[column] == '\\') {
        ++column;
      } else if (line_[column] == closing) {
        if (closing == '"' || at(column + 1) != closing) {
          quote_.reset();
          return column;
        }
        ++column;  // '' is one quote in single quotes
      }
    }
    return column;
  }

  std::string_view line_;
  size_t line_number_ = 0;
  std::optional<Open> quote_;
  std::vector<Open> flow_;
  std::optional<size_t> scalar_indent_;  ///< of the line that a block scalar begins in
  std::vector<Open> blocks_;
};

}  // namespace

std::string describe_open_part(std::string_view text, size_t line, size_t column) {
  Scanner scanner;
  for (size_t number = 0; number <= line && !text.empty(); ++number) {
    size_t end = std::min(text.find('\n'), text.size());
    size_t shown = number == line ? std::min(end, column + 1) : end;
    scanner.read_line(text.substr(0, shown));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return scanner.describe();
}

}  // namespace cfs::yaml
