// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace cfs {

constexpr size_t kRandomNameDigits = 16;

/// `kRandomNameDigits` lower-case hex digits from the kernel's random numbers: a name that no other
/// process has chosen or can foresee. Thread-safe.
[[nodiscard]] std::string random_name();

/// Returns true if `text` has the form of a random_name().
[[nodiscard]] bool is_random_name(std::string_view text);

}  // namespace cfs
