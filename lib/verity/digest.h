// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <compare>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/bytes.h"
#include "lib/base/hex.h"

namespace cfs::verity {

/// An fs-verity digest with 4096-byte blocks and no salt, as a value. The template parameter is the
/// hash's output size in bytes and its number in the kernel's interface.
/// Spec: Linux Documentation/filesystems/fsverity.rst, "File digest computation".
template <size_t kBytes, uint8_t kKernelAlgorithm>
class BasicDigest {
 public:
  static constexpr size_t kSize = kBytes;
  static constexpr uint8_t kAlgorithm = kKernelAlgorithm;

  constexpr BasicDigest() = default;

  /// From 2 × kSize hex digits of either case; nothing else is accepted.
  [[nodiscard]] static std::optional<BasicDigest> parse(std::string_view hex) {
    BasicDigest digest;
    if (!from_hex(hex, digest.bytes_)) return std::nullopt;
    return digest;
  }
  /// From exactly kSize raw bytes.
  [[nodiscard]] static std::optional<BasicDigest> from_bytes(Bytes raw) {
    if (raw.size() != kSize) return std::nullopt;
    BasicDigest digest;
    std::memcpy(digest.bytes_.data(), raw.data(), kSize);
    return digest;
  }

  [[nodiscard]] std::span<std::byte, kSize> mutable_bytes() { return bytes_; }
  [[nodiscard]] std::span<const std::byte, kSize> bytes() const { return bytes_; }
  /// Lower-case hex.
  [[nodiscard]] std::string hex() const { return to_hex(bytes_); }
  /// Where an object lies in a store: "ab/cdef…" (COMPOSEFS-FORMAT.md §1).
  using ObjectPath = std::array<char, 2 * kSize + 1>;
  [[nodiscard]] ObjectPath object_path_chars() const {
    ObjectPath path;
    write_hex(bytes(), path.data() + 1);
    path[0] = path[1];
    path[1] = path[2];
    path[2] = '/';
    return path;
  }
  [[nodiscard]] std::string object_path() const {
    ObjectPath path = object_path_chars();
    return {path.data(), path.size()};
  }

  /// From an object path, exactly as object_path() makes it; nothing else is accepted.
  [[nodiscard]] static std::optional<BasicDigest> from_object_path(std::string_view path) {
    if (path.size() != 2 * kSize + 1 || path[2] != '/') return std::nullopt;
    std::string hex = std::string(path.substr(0, 2)) + std::string(path.substr(3));
    std::optional<BasicDigest> digest = parse(hex);
    if (digest && digest->hex() != hex) return std::nullopt;  // upper case
    return digest;
  }

  auto operator<=>(const BasicDigest&) const = default;

 private:
  std::array<std::byte, kSize> bytes_{};
};

using Sha256Digest = BasicDigest<32, 1>;
using Sha512Digest = BasicDigest<64, 2>;

/// The algorithm of every format in use today.
using Digest = Sha256Digest;

}  // namespace cfs::verity

template <size_t kBytes, uint8_t kAlgorithm>
struct std::hash<cfs::verity::BasicDigest<kBytes, kAlgorithm>> {
  size_t operator()(const cfs::verity::BasicDigest<kBytes, kAlgorithm>& digest) const noexcept {
    size_t value;
    std::memcpy(&value, digest.bytes().data(), sizeof(value));
    return value;
  }
};
