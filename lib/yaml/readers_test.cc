// SPDX-License-Identifier: Apache-2.0
#include "lib/yaml/readers.h"

#include <gtest/gtest.h>

#include <array>

namespace cfs::yaml {
namespace {

Value parse(const std::string& text) { return Value::parse(text, "f").value(); }

TEST(Readers, AChoice) {
  constexpr std::array<std::string_view, 2> kChoices = {"allow", "refuse"};
  ChoiceReader reader{kChoices};
  EXPECT_EQ(reader(parse("refuse")).value(), "refuse");
  Result<std::string> near = reader(parse("refuze"));
  ASSERT_FALSE(near);
  EXPECT_EQ(near.error().message, "f:1:1: bad value 'refuze'");
  EXPECT_EQ(near.error().hint, "did you mean 'refuse'?");
  EXPECT_EQ(reader(parse("7")).error().hint, "one of: allow, refuse");
  EXPECT_FALSE(reader(parse("[allow]")));
}

TEST(Readers, AnInteger) {
  IntegerReader reader{1, 5};
  EXPECT_EQ(reader(parse("5")).value(), 5);
  EXPECT_FALSE(reader(parse("0")));
  EXPECT_FALSE(reader(parse("6")));
  EXPECT_FALSE(reader(parse("'5'")));
}

}  // namespace
}  // namespace cfs::yaml
