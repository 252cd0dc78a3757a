// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

namespace cfs::trust {

namespace internal {
struct VerifiedMaker;  // defined in lib/trust alone (verified_maker.h)
}

/// Something that a threshold of trusted keys vouches for. Made only by lib/trust; functions that
/// stage or activate take their input in this type.
template <typename T>
class Verified {
 public:
  [[nodiscard]] const T& operator*() const { return value_; }
  [[nodiscard]] const T* operator->() const { return &value_; }

 private:
  friend struct internal::VerifiedMaker;
  explicit Verified(T value) : value_(std::move(value)) {}
  T value_;
};

}  // namespace cfs::trust
