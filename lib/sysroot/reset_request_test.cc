// SPDX-License-Identifier: Apache-2.0
#include "lib/sysroot/reset_request.h"

#include <gtest/gtest.h>

namespace cfs::sysroot {
namespace {

TEST(ResetRequest, IsReadAsItWasWritten) {
  for (const ResetRequest& request :
       {ResetRequest{.etc = true}, ResetRequest{.var = true},
        ResetRequest{.etc = true, .var = true}, ResetRequest{.etc = true, .identity = true},
        ResetRequest{.etc = true, .identity = true, .var = true}}) {
    std::string text = serialise_reset_request(request);
    EXPECT_EQ(parse_reset_request(text).value(), request) << text;
    EXPECT_LE(text.size(), kMaxResetRequestBytes);
    for (size_t size = 0; size < text.size(); ++size) {
      Result<ResetRequest> cut = parse_reset_request(text.substr(0, size));
      if (cut) {
        EXPECT_EQ(serialise_reset_request(*cut), text.substr(0, size));
      }
    }
  }
}

// What asks for nothing, or for what is not known, must not be taken for something else.
TEST(ResetRequest, NothingElseIsOne) {
  for (const char* text : {"", "cfs-reset 1\n", "etc\n", "cfs-reset 2\nvar\n", "cfs-reset 1\nvar",
                           "cfs-reset 1\nvar\netc\n", "cfs-reset 1\nidentity\n",
                           "cfs-reset 1\nvar\nvar\n", "cfs-reset 1\nhome\n"}) {
    Result<ResetRequest> request = parse_reset_request(text);
    ASSERT_FALSE(request) << text;
    EXPECT_EQ(request.error().code, ErrorCode::kCorrupt);
  }
}

}  // namespace
}  // namespace cfs::sysroot
