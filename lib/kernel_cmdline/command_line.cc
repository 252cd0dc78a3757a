// SPDX-License-Identifier: Apache-2.0
#include "lib/kernel_cmdline/command_line.h"

#include <algorithm>

namespace cfs::kernel_cmdline {
namespace {

// The kernel's isspace(): ASCII white space, and 0xa0 of its Latin-1 table.
bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r') || c == '\xa0'; }

bool is_control(char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; }

bool same_name(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return (x == '-' ? '_' : x) == (y == '-' ? '_' : y); });
}

constexpr std::string_view kDigestPrefix = "v1-sha256-12:";

/// One option as next_option() finds it.
struct RawOption {
  std::string_view name;
  std::string_view value;
  size_t end = 0;             ///< where the rest of the line begins
  bool is_closed = true;      ///< no quote is left open
  bool is_separator = false;  ///< the lone `--`
};

/// The option that begins at text[i], which is not white space.
RawOption next_option(std::string_view text, size_t i) {
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
  RawOption option{.name = {}, .value = {}, .end = i, .is_closed = !in_quotes};
  if (equals == std::string_view::npos) {
    if (quoted && word.ends_with('"')) word.remove_suffix(1);
    option.name = word;
    option.is_separator = word == "--";
    return option;
  }
  option.name = word.substr(0, equals);
  option.value = word.substr(equals + 1);
  bool value_quoted = option.value.starts_with('"');
  if (value_quoted) option.value.remove_prefix(1);
  if ((value_quoted || quoted) && option.value.ends_with('"')) option.value.remove_suffix(1);
  return option;
}

}  // namespace

CommandLine CommandLine::parse(std::string_view text) {
  CommandLine result;
  for (size_t i = 0;;) {
    while (i < text.size() && is_space(text[i])) ++i;
    if (i == text.size()) break;
    RawOption option = next_option(text, i);
    if (option.is_separator) break;
    i = option.end;
    result.options_.push_back({std::string(option.name), std::string(option.value)});
  }
  return result;
}

Result<> check_one_option(std::string_view text) {
  auto refuse = [&](const char* why, const char* hint) {
    std::string shown(text);  // on one line
    std::replace_if(shown.begin(), shown.end(), is_control, '?');
    return make_error(ErrorCode::kInvalidInput, "bad kernel option '" + shown + "': " + why)
        .with_hint(hint);
  };
  if (text.empty()) return refuse("it is empty", "one option a list item");
  if (!std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; })) {
    return refuse("it is not printable ASCII", "one option a list item, on one line");
  }
  if (is_space(text.front())) {
    return refuse("it begins with a blank", "one option a list item, without blanks around it");
  }
  RawOption option = next_option(text, 0);
  if (!option.is_closed) {
    return refuse("a double quote is left open",
                  "the kernel would take all that follows for its value");
  }
  if (option.end != text.size()) {
    return refuse("it is more than one option",
                  "one option a list item; double quotes keep blanks in a value: "
                  "'dyndbg=\"file drivers/usb/* +p\"'");
  }
  if (option.is_separator) {
    return refuse("what follows is for init and not for the kernel",
                  "cfs's own option comes last and must be seen by the kernel");
  }
  return {};
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
                                                      *found + "' and '" + option.value + "'")
          .with_hint("give it once");
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

Result<verity::Digest> pinned_digest(const CommandLine& command_line) {
  std::optional<std::string> value = CFS_TRY(command_line.only(kPinOption));
  if (!value) {
    return make_error(ErrorCode::kNotFound,
                      "no '" + std::string(kPinOption) + "=' on the kernel command line");
  }
  return parse_pinned_digest(*value);
}

Result<verity::Digest> pinned_digest(std::string_view text) {
  return pinned_digest(CommandLine::parse(text));
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
