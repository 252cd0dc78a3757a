// SPDX-License-Identifier: Apache-2.0
#include "lib/sysroot/reset_request.h"

#include <array>

namespace cfs::sysroot {
namespace {

// Every request that there can be.
constexpr std::array<ResetRequest, 5> kRequests = {{
    {.etc = true},
    {.var = true},
    {.etc = true, .var = true},
    {.etc = true, .identity = true},
    {.etc = true, .identity = true, .var = true},
}};

}  // namespace

Result<ResetRequest> parse_reset_request(std::string_view text) {
  for (const ResetRequest& request : kRequests) {
    if (serialise_reset_request(request) == text) return request;
  }
  return make_error(ErrorCode::kCorrupt, "no request to reset anything that this version knows");
}

std::string serialise_reset_request(const ResetRequest& request) {
  return std::string("cfs-reset 1\n") + (request.etc ? "etc\n" : "") +
         (request.identity ? "identity\n" : "") + (request.var ? "var\n" : "");
}

}  // namespace cfs::sysroot
