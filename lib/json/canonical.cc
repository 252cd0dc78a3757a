// SPDX-License-Identifier: Apache-2.0
#include "lib/json/canonical.h"

#include <fmt/format.h>

namespace cfs::json {
namespace {

enum class Escape { kControlCharacters, kOnlyQuotes };

void append_text(std::string& out, std::string_view text, Escape escape) {
  out += '"';
  for (char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20 && escape == Escape::kControlCharacters) {
      out += fmt::format("\\u{:04x}", c);
    } else {
      out += c;
    }
  }
  out += '"';
}

// Recursion is bounded: values come from parse (depth limit) or from our own code.
void append(std::string& out, const Value& value, Escape escape) {
  if (value.is_null()) {
    out += "null";
  } else if (const auto* boolean = value.as<bool>()) {
    out += *boolean ? "true" : "false";
  } else if (const auto* integer = value.as<int64_t>()) {
    out += fmt::format("{}", *integer);
  } else if (const auto* text = value.as<std::string>()) {
    append_text(out, *text, escape);
  } else if (const auto* array = value.as<Value::Array>()) {
    out += '[';
    for (size_t i = 0; i < array->size(); ++i) {
      if (i > 0) out += ',';
      append(out, (*array)[i], escape);
    }
    out += ']';
  } else if (const auto* object = value.as<Value::Object>()) {
    out += '{';
    bool first = true;
    for (const auto& [key, member] : *object) {
      if (!first) out += ',';
      first = false;
      append_text(out, key, escape);
      out += ':';
      append(out, member, escape);
    }
    out += '}';
  }
}

}  // namespace

std::string to_canonical(const Value& value) {
  std::string out;
  append(out, value, Escape::kControlCharacters);
  return out;
}

std::string to_signing_form(const Value& value) {
  std::string out;
  append(out, value, Escape::kOnlyQuotes);
  return out;
}

}  // namespace cfs::json
