// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tl/expected.hpp>
#include <utility>

#include "lib/base/error.h"

namespace cfs {

/// A value or an Error. Dropping one is a compile error; propagate with CFS_TRY.
///
///   Result<UniqueFd> open_thing();
///   Result<> use_thing() {
///     UniqueFd fd = CFS_TRY(open_thing());
///     if (bad) return make_error(ErrorCode::kCorrupt, "…");
///     return {};
///   }
template <typename T = void>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using tl::expected<T, Error>::expected;
  Result() = default;
  Result(Error error)  // NOLINT(google-explicit-constructor): `return make_error(…)` reads best
      : tl::expected<T, Error>(tl::unexpect, std::move(error)) {}
};

namespace internal {
template <typename T>
T unwrap(Result<T>&& result) {
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}
}  // namespace internal

}  // namespace cfs

#define CFS_CONCAT_INNER(a, b) a##b
#define CFS_CONCAT(a, b) CFS_CONCAT_INNER(a, b)
#define CFS_TRY_NAMED(name, ...)                    \
  __extension__({                                   \
    auto name = (__VA_ARGS__);                      \
    if (!name) [[unlikely]]                         \
      return ::cfs::Error(std::move(name).error()); \
    ::cfs::internal::unwrap(std::move(name));       \
  })

/// The value of a Result, or `return`s its error from the enclosing function. Not inside a braced
/// initialiser after another element: gcc 12 does not destroy what was initialised before.
#define CFS_TRY(...) CFS_TRY_NAMED(CFS_CONCAT(cfs_result_, __COUNTER__), __VA_ARGS__)

/// As CFS_TRY, adding what was being done (`context`) to the error.
#define CFS_TRY_WITH(context_text, ...) \
  CFS_TRY_WITH_NAMED(CFS_CONCAT(cfs_result_, __COUNTER__), context_text, __VA_ARGS__)
#define CFS_TRY_WITH_NAMED(name, context_text, ...)                    \
  __extension__({                                                      \
    auto name = (__VA_ARGS__);                                         \
    if (!name) [[unlikely]]                                            \
      return ::cfs::Error(std::move(name).error()).with(context_text); \
    ::cfs::internal::unwrap(std::move(name));                          \
  })
