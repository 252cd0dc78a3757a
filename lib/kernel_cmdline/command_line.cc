// SPDX-License-Identifier: Apache-2.0
#include "lib/kernel_cmdline/command_line.h"

#include <algorithm>

namespace cfs::kernel_cmdline {
namespace {

// The kernel's isspace(): ASCII white space, and 0xa0 of its Latin-1 table.
bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r') || c == '\xa0'; }

bool same_name(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return (x == '-' ? '_' : x) == (y == '-' ? '_' : y); });
}

constexpr std::string_view kDigestPrefix = "v1-sha256-12:";

}  // namespace

CommandLine CommandLine::parse(std::string_view text) {
  CommandLine result;
  size_t i = 0;
  for (;;) {
    while (i < text.size() && is_space(text[i])) ++i;
    if (i == text.size()) break;
    bool quoted = text[i] == '"';
    if (quoted) ++i;
    bool in_quotes = quoted;
    size_t begin = i;
    size_t equals = std::string_view::npos;
    for (; i < text.size() && (in_quotes || !is_space(text[i])); ++i) {
      // A leading '=' does not end a name: the kernel uses 0 for "none seen".
      if (text[i] == '=' && equals == std::string_view::npos && i > begin) equals = i - begin;
      if (text[i] == '"') in_quotes = !in_quotes;
    }
    std::string_view word = text.substr(begin, i - begin);
    bool ends_with_quote = !word.empty() && word.back() == '"';
    Option option;
    if (equals == std::string_view::npos) {
      if (quoted && ends_with_quote) word.remove_suffix(1);
      if (word == "--") break;
      option.name = word;
    } else {
      option.name = word.substr(0, equals);
      std::string_view value = word.substr(equals + 1);
      bool value_quoted = !value.empty() && value.front() == '"';
      if (value_quoted) value.remove_prefix(1);
      if ((value_quoted || quoted) && !value.empty() && value.back() == '"') value.remove_suffix(1);
      option.value = value;
    }
    result.options_.push_back(std::move(option));
  }
  return result;
}

std::optional<std::string> CommandLine::last(std::string_view name) const {
  std::optional<std::string> found;
  for (const Option& option : options_) {
    if (same_name(option.name, name)) found = option.value;
  }
  return found;
}

Result<std::optional<std::string>> CommandLine::only(std::string_view name) const {
  std::optional<std::string> found;
  for (const Option& option : options_) {
    if (!same_name(option.name, name)) continue;
    if (found && *found != option.value) {
      return make_error(ErrorCode::kInvalidInput, "'" + std::string(name) + "' has two values: '" +
                                                      *found + "' and '" + option.value + "'");
    }
    found = option.value;
  }
  return found;
}

std::vector<std::string> CommandLine::names_with_prefix(std::string_view prefix) const {
  std::vector<std::string> names;
  for (const Option& option : options_) {
    if (same_name(std::string_view(option.name).substr(0, prefix.size()), prefix)) {
      std::string& name = names.emplace_back(option.name);
      std::replace(name.begin(), name.end(), '-', '_');
    }
  }
  return names;
}

Result<verity::Digest> parse_pinned_digest(std::string_view value) {
  std::string_view hex = value;
  if (hex.substr(0, kDigestPrefix.size()) == kDigestPrefix) hex.remove_prefix(kDigestPrefix.size());
  std::optional<verity::Digest> digest = verity::Digest::parse(hex);
  if (!digest) {
    return make_error(ErrorCode::kInvalidInput,
                      value.empty()
                          ? std::string("the digest is empty")
                          : "'" + std::string(value) + "' is not a digest of 64 hex digits");
  }
  return *digest;
}

}  // namespace cfs::kernel_cmdline
