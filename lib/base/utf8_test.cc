// SPDX-License-Identifier: Apache-2.0
#include "lib/base/utf8.h"

#include <gtest/gtest.h>

namespace cfs {
namespace {

TEST(Utf8, CharactersHaveTheirSize) {
  EXPECT_EQ(utf8_character_size("ab"), 1U);
  EXPECT_EQ(utf8_character_size("\xc3\xbc!"), 2U);
  EXPECT_EQ(utf8_character_size("\xe2\x82\xac"), 3U);
  EXPECT_EQ(utf8_character_size("\xf0\x9f\x98\x80"), 4U);
}

TEST(Utf8, WhatIsNoneIsRefused) {
  for (const char* bad : {"", "\x80", "\xc0\x80", "\xc3", "\xc3(", "\xe0\x80\x80", "\xed\xa0\x80",
                          "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff"}) {
    EXPECT_EQ(utf8_character_size(bad), 0U) << bad;
  }
}

TEST(Utf8, PrintableText) {
  EXPECT_EQ(printable_text("a\tb\n\xc3\xbc"), "a\tb\n\xc3\xbc");
  EXPECT_EQ(printable_text("\x1b[31mred\r"), "?[31mred?");
  EXPECT_EQ(printable_text("\xc2\x9b"
                           "31m\x7f"),
            "?31m?");
  EXPECT_EQ(printable_text("x\xff\xc3"), "x\xef\xbf\xbd\xef\xbf\xbd");
}

}  // namespace
}  // namespace cfs
