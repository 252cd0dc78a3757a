// SPDX-License-Identifier: Apache-2.0
#include "builder/manifest/values.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "builder/manifest/image_path.h"
#include "lib/base/relative_path.h"

namespace cfs::builder {
namespace {

constexpr uint32_t kMaxMode = 07777;
constexpr size_t kMinModeDigits = 3;
constexpr uint32_t kNoId = std::numeric_limits<uint32_t>::max();  // "no change" to chown(2)

/// All of `text` as a number.
template <typename T>
bool parse_number(std::string_view text, T& number, int base = 10) {
  auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  return failure == std::errc() && end == text.data() + text.size();
}

}  // namespace

Result<bool> read_true(const yaml::Value& value) {
  if (!CFS_TRY(value.boolean())) return value.error("can only be true");
  return true;
}

Result<std::string> WordReader::operator()(const yaml::Value& value) const {
  std::string text = CFS_TRY(value.string());
  bool is_good =
      !text.empty() && text.size() <= max_size && first.find(text[0]) != std::string_view::npos &&
      std::all_of(text.begin(), text.end(), [&](char c) {
        return first.find(c) != std::string_view::npos || more.find(c) != std::string_view::npos;
      });
  if (is_good) return text;
  return value.error(fmt::format("bad value '{}'", text))
      .with_hint(fmt::format("1 to {} characters of a-z{} 0-9 {}, not starting with one of '{}'",
                             max_size, first.find('A') != std::string_view::npos ? " A-Z" : "",
                             more, more));
}

Result<std::string> ImagePathReader::operator()(const yaml::Value& value) const {
  std::string text = CFS_TRY(value.string());
  if (text.empty() || text[0] != '/') {
    return value.error(fmt::format("'{}' must be an absolute path in the image", text));
  }
  Result<std::string> normal = normal_path(text);
  if (!normal) return value.error(normal.error().message);
  if (normal->empty() && root == Root::kRefused) return value.error("'/' cannot be used here");
  if (normal->size() > kMaxPathBytes - 1) {
    return value.error(fmt::format("the path is longer than {} bytes", kMaxPathBytes));
  }
  for (const std::string& name : path_components(*normal)) {
    if (name.size() > kMaxNameBytes) {
      return value.error(fmt::format("a name in the path is longer than {} bytes", kMaxNameBytes));
    }
  }
  return "/" + *normal;
}

Result<std::string> HostPathReader::operator()(const yaml::Value& value) const {
  std::string text = CFS_TRY(value.string());
  if (text.empty()) return value.error("the path is empty");
  if (text.find('\0') != std::string::npos) return value.error("a path with a NUL byte");
  return (std::filesystem::path(folder) / text).lexically_normal().string();
}

Result<uint32_t> read_mode(const yaml::Value& value) {
  std::string text = CFS_TRY(value.string());
  uint32_t bits = 0;
  bool is_octal = parse_number(text, bits, 8) && bits <= kMaxMode && text.size() >= kMinModeDigits;
  if (is_octal && (value.is_quoted() || text[0] == '0')) return bits;
  Error error = value.error(fmt::format("bad mode '{}'", text));
  uint32_t decimal = 0;
  bool is_decimal = parse_number(text, decimal) && decimal <= kMaxMode;
  if (!value.is_quoted() && !text.starts_with('0') && (is_octal || is_decimal)) {
    std::string octal = is_octal ? fmt::format("'{:04o}'", bits) : "";
    if (is_decimal) octal += fmt::format("{}'{:04o}'", is_octal ? " or " : "", decimal);
    error.message += ": without quotes and a leading zero it is a decimal number to YAML";
    return std::move(error).with_hint("write " + octal);
  }
  return std::move(error).with_hint("octal digits, as in '0644'");
}

Result<Owner> read_owner(const yaml::Value& value) {
  std::string text = CFS_TRY(value.string());
  if (text == "root:root") return Owner{};
  Owner owner;
  std::string_view view = text;
  size_t colon = std::min(view.find(':'), view.size());
  bool is_good = colon < view.size() && parse_number(view.substr(0, colon), owner.uid) &&
                 parse_number(view.substr(colon + 1), owner.gid) && owner.uid != kNoId &&
                 owner.gid != kNoId;
  if (is_good) return owner;
  return value.error(fmt::format("bad owner '{}'", text))
      .with_hint("'root:root' or numbers, as in '0:42'");
}

Result<> check_package(const yaml::Value& value, std::string_view text) {
  const std::string_view name = text.substr(0, text.find_first_of(":=/"));
  if (text.ends_with('-') || name.ends_with('-')) {
    return value
        .error(fmt::format("bad package '{}': apt takes a '-' at the end for removal", text))
        .with_hint("packages are only added: remove the '-', or the item");
  }
  if (name.size() < text.size() && text[name.size()] == ':') {
    return value
        .error(
            fmt::format("bad package '{}': packages are those of the image's architecture", text))
        .with_hint(fmt::format("write '{}'", name));
  }
  return {};
}

bool has_control_characters(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; });
}

}  // namespace cfs::builder
