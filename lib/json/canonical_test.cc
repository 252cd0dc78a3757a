// SPDX-License-Identifier: Apache-2.0
#include "lib/json/canonical.h"

#include <gtest/gtest.h>

#include "lib/json/reader.h"

namespace cfs::json {
namespace {

Result<Value> parse(std::string_view text) { return json::parse(text, {}, "test.json"); }

TEST(CanonicalTest, CanonicalTextIsSortedAndTight) {
  Result<Value> json = parse(R"( { "b" : [ 1, -2, true, null, "x" ], "a" : { }, "B":[] } )");
  ASSERT_TRUE(json) << json.error().describe();
  EXPECT_EQ(to_canonical(*json), R"({"B":[],"a":{},"b":[1,-2,true,null,"x"]})");
}

TEST(CanonicalTest, StringsRoundTrip) {
  std::string text = R"({"k\"\\":"\u0001\n\t/é\u0000𝄞\u007f"})";
  Result<Value> json = parse(text);
  ASSERT_TRUE(json) << json.error().describe();
  std::string canonical = to_canonical(*json);
  EXPECT_EQ(canonical, R"({"k\"\\":"\u0001\u000a\u0009/é\u0000𝄞)"
                       "\x7f\"}");
  EXPECT_EQ(*parse(canonical), *json);
  EXPECT_EQ(to_signing_form(*json), std::string("{\"k\\\"\\\\\":\"\x01\n\t/é\0𝄞\x7f\"}", 24));
}

}  // namespace
}  // namespace cfs::json
