// SPDX-License-Identifier: Apache-2.0
// What values of a manifest may look like: readers for yaml::Value::read(), besides those of
// lib/yaml/readers.h. Each fails with kInvalidInput, the place of the value, what is wrong, and
// where it helps a hint.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>

#include "lib/base/result.h"
#include "lib/yaml/readers.h"

namespace cfs::builder {

inline constexpr std::string_view kLowerAndDigits = "abcdefghijklmnopqrstuvwxyz0123456789";
inline constexpr std::string_view kLettersAndDigits =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// Who owns a file, by number.
struct Owner {
  uint32_t uid = 0;
  uint32_t gid = 0;
};

/// `true`: a key that says what an entry is, and cannot be turned off.
[[nodiscard]] Result<bool> read_true(const yaml::Value& value);

/// 1 to `max_size` characters: the first is one of `first`, the others are one of those or of
/// `more`. Fit for one word of a child program's argument: no spaces, commas or leading dashes.
struct WordReader {
  std::string_view first;
  std::string_view more;
  size_t max_size;
  Result<std::string> operator()(const yaml::Value& value) const;
};

/// An absolute path in the image, made normal: without ".", "..", empty names. "/" itself only
/// where it makes sense.
struct ImagePathReader {
  enum class Root { kAllowed, kRefused };
  Root root;
  Result<std::string> operator()(const yaml::Value& value) const;
};

/// A path on the build host, made absolute: relative ones start at `folder`.
struct HostPathReader {
  const std::string& folder;
  Result<std::string> operator()(const yaml::Value& value) const;
};

/// Permission bits in octal. An unquoted number needs its leading zero, since YAML's numbers are
/// decimal: other programs write 0644 as 420.
[[nodiscard]] Result<uint32_t> read_mode(const yaml::Value& value);

/// "UID:GID" in numbers, or root:root.
[[nodiscard]] Result<Owner> read_owner(const yaml::Value& value);

/// For a package as apt-get(8) takes it, NAME, NAME=VERSION or NAME/SUITE: it neither asks for the
/// removal of one nor names an architecture. Errors: kInvalidInput.
[[nodiscard]] Result<> check_package(const yaml::Value& value, std::string_view text);

/// The longest path that Linux takes: path_resolution(7), less the NUL; symlink targets too.
inline constexpr size_t kMaxPathBytes = 4095;

[[nodiscard]] bool has_control_characters(std::string_view text);

}  // namespace cfs::builder
