// SPDX-License-Identifier: Apache-2.0
#include "lib/yaml/value.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/yaml/readers.h"

namespace cfs::yaml {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Value parse(const std::string& text) { return Value::parse(text, "f").value(); }

TEST(Value, ReadsOnAfterAMistake) {
  Value root = parse("a: 1\nb: x\nd: [x, 2, y]\nzebra: 3\n");
  Map map = root.map({"a", "b", "c", "d"});
  int64_t a = 0;
  int64_t b = -1;
  std::vector<int64_t> d = {7};
  IntegerReader reader{0, 9};
  EXPECT_TRUE(map.require("a", a, reader));
  EXPECT_FALSE(map.require("b", b, reader));
  EXPECT_FALSE(map.require("c", b, reader));
  map.read_list("d", d, reader);
  EXPECT_EQ(a, 1);
  EXPECT_EQ(b, -1) << "what is wrong is not put anywhere";
  EXPECT_THAT(d, ElementsAre(2));
  EXPECT_EQ(root.reported().error().message,
            "'f' has 5 errors:\n"
            "f:1:1: missing key 'c'\n"
            "f:2:4: b: expected an integer, found 'x'\n"
            "f:3:5: d[0]: expected an integer, found 'x'\n"
            "f:3:11: d[2]: expected an integer, found 'y'\n"
            "f:4:1: zebra: unknown key 'zebra' (known keys here: a, b, c, d)");
}

TEST(Value, WhatIsNoMapMissesNothing) {
  Value root = parse("a: [1]\nb: x\n");
  Map map = root.map({"a", "b"});
  EXPECT_FALSE(map.require("a")->map({"x"}).require("x"));
  EXPECT_TRUE(map.require("b")->items().empty());
  EXPECT_EQ(root.reported().error().message,
            "'f' has 2 errors:\nf:1:4: a: expected a map with the keys x, found a list\n"
            "f:2:4: b: expected a list, found a scalar");
}

TEST(Value, NothingReportedIsNoError) {
  Value root = parse("a: 1\n");
  EXPECT_TRUE(root.map({"a"}).has("a"));
  EXPECT_TRUE(root.reported());
  EXPECT_EQ(root.map({"a"}).find("a")->place(), "f:1:4: a: ");
  EXPECT_EQ(root.map({"a"}).find("a")->file_and_line(), "f:1");
}

TEST(Value, SyntaxErrorsSayWhatIsOpenSinceWhen) {
  Error error = Value::parse("a:\n  - {b: c\nd: e\n", "f").error();
  EXPECT_THAT(error.message, HasSubstr("; open since line 2, column 5: '{'"));
}

}  // namespace
}  // namespace cfs::yaml
