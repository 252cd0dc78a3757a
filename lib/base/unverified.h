// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

namespace cfs {

/// Something that came from a disk or a network and that nobody has vouched for yet. Only parsers
/// that are safe on any input and the code that verifies it look inside; everything else asks for a
/// trust::Verified<T> in its signature.
template <typename T>
class Unverified {
 public:
  explicit Unverified(T value) : value_(std::move(value)) {}

  /// The value, for a parser or a verifier.
  [[nodiscard]] const T& untrusted() const& { return value_; }
  [[nodiscard]] T untrusted() && { return std::move(value_); }

 private:
  T value_;
};

}  // namespace cfs
