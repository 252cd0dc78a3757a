// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lib/trust/verified.h"

namespace cfs::trust::internal {

/// The only way to make a Verified<T>. Not for inclusion outside lib/trust.
struct VerifiedMaker {
  template <typename T>
  static Verified<T> make(T value) {
    return Verified<T>(std::move(value));
  }
};

}  // namespace cfs::trust::internal
