// SPDX-License-Identifier: Apache-2.0
// state/reset: what a device forgets at its next boot (docs/FORMATS.md). cfs-deploy writes it,
// cfs-mount-root does it.
#pragma once

#include <string>
#include <string_view>

#include "lib/base/result.h"

namespace cfs::sysroot {

inline constexpr size_t kMaxResetRequestBytes = 64;

struct ResetRequest {
  bool etc = false;       ///< all changes to /etc, of every release, but what is kept
  bool identity = false;  ///< what is kept too; only with `etc`
  bool var = false;       ///< all of /var
  bool operator==(const ResetRequest&) const = default;
};

/// Errors: kCorrupt.
[[nodiscard]] Result<ResetRequest> parse_reset_request(std::string_view text);
[[nodiscard]] std::string serialise_reset_request(const ResetRequest& request);

}  // namespace cfs::sysroot
