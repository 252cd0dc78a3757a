// SPDX-License-Identifier: Apache-2.0
#include "lib/json/reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cfs::json {
namespace {

using ::testing::HasSubstr;

Result<Value> parse(std::string_view text, Limits limits = {}) {
  return parse(text, limits, "test.json");
}

TEST(ParseTest, RefusesWhatIsNotOurJson) {
  for (std::string_view text : {
           "",
           " ",
           "{",
           "}",
           "{\"a\":1,}",
           "[1,]",
           "{} {}",
           "{}x",
           "01",
           "1.0",
           "1e3",
           "-",
           "nul",
           "'a'",
           "{a:1}",
           "[1 2]",
           "// c\n1",
           "NaN",
           "Infinity",
           "\"\x80\"",
           "\"\xc0\x80\"",
           "\"\xed\xa0\x80\"",
           "\"\\ud800\"",
           "\"\n\"",
           "\"a",
           "\xef\xbb\xbf{}",
           "9007199254740992",
           "-9007199254740992",
           "18446744073709551616",
           R"({"a":1,"a":2})",
           R"({"a":{"b":1,"c":[],"b":1}})",
           R"({"a":1,"\u0061":2})",
       }) {
    Result<Value> json = parse(text);
    ASSERT_FALSE(json) << text;
    EXPECT_EQ(json.error().code, ErrorCode::kCorrupt) << text;
  }
  EXPECT_FALSE(parse(std::string_view("{}\0", 3)));
  EXPECT_FALSE(parse(std::string_view("{}\0{}", 5)));
  EXPECT_FALSE(parse(std::string_view("\"a\0\"", 4)));
}

TEST(ParseTest, IntegersUpTo53Bits) {
  EXPECT_EQ(*parse("9007199254740991")->as<int64_t>(), kMaxInteger);
  EXPECT_EQ(*parse("-9007199254740991")->as<int64_t>(), -kMaxInteger);
}

TEST(ParseTest, LimitsHold) {
  EXPECT_TRUE(parse("[[[]]]", {.depth = 3}));
  EXPECT_FALSE(parse("[[[]]]", {.depth = 2}));
  EXPECT_FALSE(parse("[{\"a\":[]}]", {.depth = 2}));
  EXPECT_TRUE(parse("[1,2]", {.values = 3}));
  EXPECT_FALSE(parse("[1,2]", {.values = 2}));
  EXPECT_TRUE(parse("[]", {.size_bytes = 2}));
  EXPECT_FALSE(parse("[ ]", {.size_bytes = 2}));
  EXPECT_FALSE(parse(std::string(60000, '[')));
}

TEST(ReaderTest, NamesTheKeyPath) {
  Value json = *parse(R"({"a":{"b":[{"c":-1}]},"s":"text","t":true})");
  Reader reader(json, "test.json");
  auto elements = reader.member("a")->member("b")->elements(1);
  ASSERT_TRUE(elements);
  Result<uint64_t> number = (*elements)[0].member("c")->integer(0, 9);
  ASSERT_FALSE(number);
  EXPECT_EQ(number.error().message, "test.json: 'a.b[0].c' must be an integer from 0 to 9");
  EXPECT_EQ((*elements)[0].member("d").error().message, "test.json: 'a.b[0].d' is missing");
  EXPECT_EQ(reader.member("x").error().message, "test.json: 'x' is missing");
  EXPECT_THAT(reader.member("s")->member("y").error().message, HasSubstr("'s' must be an object"));
  EXPECT_FALSE(reader.member("s")->integer());
  EXPECT_FALSE(reader.member("s")->boolean());
  EXPECT_FALSE(reader.member("s")->text(3));
  EXPECT_FALSE(reader.member("s")->sha256());
  EXPECT_FALSE(reader.member("s")->elements(9));
  EXPECT_FALSE(reader.members(2));
  EXPECT_FALSE(reader.member("a")->member("b")->elements(0));
  EXPECT_TRUE(*reader.member("t")->boolean());
  EXPECT_EQ(*reader.member("s")->text(4), "text");
  EXPECT_EQ(reader.members(3)->size(), 3u);
  EXPECT_FALSE(reader.optional_member("q")->has_value());
}

TEST(ReaderTest, DigestsAreLowerCase) {
  Value lower = *parse("\"" + std::string(64, 'a') + "\"");
  Value upper = *parse("\"" + std::string(64, 'A') + "\"");
  EXPECT_TRUE(Reader(lower, "x").sha256());
  EXPECT_FALSE(Reader(upper, "x").sha256());
}

}  // namespace
}  // namespace cfs::json
