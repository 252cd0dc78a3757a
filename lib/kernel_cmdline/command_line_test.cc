// SPDX-License-Identifier: Apache-2.0
#include "lib/kernel_cmdline/command_line.h"

#include <gmock/gmock.h>

namespace cfs::kernel_cmdline {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Optional;

const std::string kHex = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

TEST(CommandLineTest, SplitsAsTheKernelDoes) {
  CommandLine line = CommandLine::parse(
      " quiet a=1  b=\"two words\" \"c=three words\"\td=x\"y z\"w e=a=b f= \"g h\" i=\"j\n");
  EXPECT_THAT(line.last("quiet"), Optional(std::string()));
  EXPECT_THAT(line.last("a"), Optional(std::string("1")));
  EXPECT_THAT(line.last("b"), Optional(std::string("two words")));
  EXPECT_THAT(line.last("c"), Optional(std::string("three words")));
  EXPECT_THAT(line.last("d"), Optional(std::string("x\"y z\"w"))) << "inner quotes stay";
  EXPECT_THAT(line.last("e"), Optional(std::string("a=b")));
  EXPECT_THAT(line.last("f"), Optional(std::string()));
  EXPECT_THAT(line.last("g h"), Optional(std::string()));
  EXPECT_THAT(line.last("i"), Optional(std::string("j\n"))) << "an open quote runs to the end";
  EXPECT_EQ(line.last("nothing"), std::nullopt);
}

TEST(CommandLineTest, StopsAtTwoDashes) {
  CommandLine line = CommandLine::parse("a=1 -- a=2 b=3");
  EXPECT_THAT(line.last("a"), Optional(std::string("1")));
  EXPECT_EQ(line.last("b"), std::nullopt);
}

TEST(CommandLineTest, DashAndUnderscoreAreTheSameInNames) {
  CommandLine line = CommandLine::parse("cfs.on-failure=halt");
  EXPECT_THAT(line.last("cfs.on_failure"), Optional(std::string("halt")));
}

TEST(CommandLineTest, OddBytes) {
  for (const char* text : {"", " ", "\"", "\"\"", "=", "==", "a=\"", "\"a=\"", "\"a=\"b\"\""}) {
    (void)CommandLine::parse(text);  // the sanitizers watch
  }
  EXPECT_THAT(CommandLine::parse("a=\"").last("a"), Optional(std::string()));
  EXPECT_THAT(CommandLine::parse("=x").last("=x"), Optional(std::string()));
}

TEST(CommandLineTest, OnlyRefusesTwoValues) {
  CommandLine line = CommandLine::parse("a=1 a=1 b=1 b=2 c");
  Result<std::optional<std::string>> same = line.only("a");
  ASSERT_TRUE(same);
  EXPECT_THAT(*same, Optional(std::string("1")));
  Result<std::optional<std::string>> different = line.only("b");
  ASSERT_FALSE(different);
  EXPECT_EQ(different.error().code, ErrorCode::kInvalidInput);
  EXPECT_THAT(different.error().message, HasSubstr("'1' and '2'"));
  EXPECT_EQ(*line.only("d"), std::nullopt);
}

TEST(CommandLineTest, NamesWithPrefix) {
  CommandLine line = CommandLine::parse("cfs.a=1 root=x cfs.b-c cfsx");
  EXPECT_THAT(line.names_with_prefix("cfs."), ElementsAre("cfs.a", "cfs.b_c"));
}

TEST(PinnedDigest, OnlyWholeSha256Digests) {
  EXPECT_EQ(parse_pinned_digest(kHex)->hex(), kHex);
  EXPECT_EQ(parse_pinned_digest("v1-sha256-12:" + kHex)->hex(), kHex);
  for (const std::string& bad :
       {std::string(), kHex.substr(1), kHex + "0", "?" + kHex, "v2-sha512-12:" + kHex,
        std::string("v1-sha256-12:"), kHex.substr(1) + "g", "sha256:" + kHex}) {
    Result<verity::Digest> digest = parse_pinned_digest(bad);
    ASSERT_FALSE(digest) << bad;
    EXPECT_EQ(digest.error().code, ErrorCode::kInvalidInput);
  }
  EXPECT_EQ(parse_pinned_digest("").error().message, "the digest is empty");
}

TEST(PinnedDigest, FindsExactlyOne) {
  const std::string pin = "quiet composefs.digest=" + kHex;
  EXPECT_EQ(pinned_digest(pin)->hex(), kHex);
  EXPECT_EQ(pinned_digest("composefs.digest=v1-sha256-12:" + kHex + " ro")->hex(), kHex);
  EXPECT_EQ(pinned_digest(pin + " " + pin)->hex(), kHex);
  EXPECT_EQ(pinned_digest("\"composefs.digest=" + kHex + "\" a")->hex(), kHex);
  const std::string other(64, 'b');
  for (const std::string& bad :
       {std::string("composefs.digest="), "composefs.digest " + kHex, "composefs.digest=?" + kHex,
        "composefs.digest=" + kHex.substr(1), "composefs.digest=v2-sha512-12:" + kHex,
        pin + " composefs.digest=" + other}) {
    EXPECT_EQ(pinned_digest(bad).error().code, ErrorCode::kInvalidInput) << bad;
  }
  for (const std::string& none :
       {std::string(), "xcomposefs.digest=" + kHex, "init=/x -- composefs.digest=" + kHex}) {
    EXPECT_EQ(pinned_digest(none).error().code, ErrorCode::kNotFound) << none;
  }
}

TEST(OneOption, AsPeopleWriteThem) {
  for (const char* good :
       {"quiet", "console=ttyS0", R"(dyndbg="file drivers/usb/* +p")", R"("root=LABEL=my root")",
        R"(root="PARTLABEL=Arch Linux")", "1", "a=b=c", R"(a="")", R"(x=a"b c"d)", "=x", "---"}) {
    EXPECT_TRUE(check_one_option(good)) << good;
  }
  for (const char* bad :
       {"", " ", "quiet splash", " quiet", "quiet ", "a\nb", "a\tb", "caf\xc3\xa9", "a=\x7f",
        R"(foo="unterminated)", R"(")", R"(a"b c)", "--", R"("--")", R"("a b" c)",
        "init=/bin/sh -- -c foo", R"(dyndbg="file a" b)"}) {
    Result<> one = check_one_option(bad);
    ASSERT_FALSE(one) << bad;
    EXPECT_EQ(one.error().code, ErrorCode::kInvalidInput) << bad;
    EXPECT_FALSE(one.error().hint.empty()) << bad;
  }
}

// An option that passes is read the same alone and between others, and leaves those alone.
TEST(OneOption, DoesNotChangeItsNeighbours) {
  constexpr std::string_view kAlphabet = "ab=\" -";
  uint64_t total = 1;
  for (int length = 1; length <= 6; ++length) {
    total *= kAlphabet.size();
    for (uint64_t number = 0; number < total; ++number) {
      std::string text;
      for (uint64_t rest = number; text.size() < static_cast<size_t>(length);
           rest /= kAlphabet.size()) {
        text += kAlphabet[rest % kAlphabet.size()];
      }
      if (!check_one_option(text)) continue;
      CommandLine alone = CommandLine::parse(text);
      CommandLine line = CommandLine::parse("first=1 " + text + " last=2");
      ASSERT_EQ(line.names_with_prefix("").size(), 3U) << text;
      ASSERT_EQ(line.names_with_prefix("")[1], alone.names_with_prefix("")[0]) << text;
      ASSERT_EQ(line.last("last"), "2") << text;
    }
  }
}

}  // namespace
}  // namespace cfs::kernel_cmdline
