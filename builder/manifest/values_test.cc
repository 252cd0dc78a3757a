// SPDX-License-Identifier: Apache-2.0
#include "builder/manifest/values.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cfs::builder {
namespace {

/// What `reader` makes of the YAML scalar `text`: the value, or the error and its hint.
template <typename Reader>
auto read(const Reader& reader, const std::string& text) {
  return reader(yaml::Value::parse(text, "f").value());
}

TEST(ReadMode, IsOctalAndSaysSo) {
  struct {
    const char* text;
    int mode;  ///< -1: refused
    const char* hint;
  } cases[] = {
      {"0644", 0644, ""},
      {"'0644'", 0644, ""},
      {"'644'", 0644, ""},
      {"\"755\"", 0755, ""},
      {"07777", 07777, ""},
      {"00755", 0755, ""},
      {"000", 0, ""},
      {"420", -1, "write '0420' or '0644'"},
      {"493", -1, "write '0755'"},
      {"644", -1, "write '0644' or '1204'"},
      {"1", -1, "write '0001'"},
      {"4755", -1, "write '4755'"},
      {"5000", -1, "write '5000'"},
      {"9999", -1, "octal digits, as in '0644'"},
      {"'888'", -1, "octal"},
      {"0o644", -1, "octal"},
      {"0888", -1, "octal"},
      {"rwx", -1, "octal"},
      {"''", -1, "octal"},
      {"'10000'", -1, "octal"},
      {"-1", -1, "octal"},
      {"07", -1, "octal"},
  };
  for (const auto& test : cases) {
    Result<uint32_t> mode = read(read_mode, test.text);
    EXPECT_EQ(mode ? static_cast<int>(*mode) : -1, test.mode) << test.text;
    std::string hint = mode ? "" : mode.error().hint;
    EXPECT_THAT(hint, testing::HasSubstr(test.hint)) << test.text;
  }
}

TEST(ReadOwner, IsNumbersOrRoot) {
  EXPECT_EQ(read(read_owner, "root:root")->uid, 0U);
  EXPECT_EQ(read(read_owner, "'1000:42'")->gid, 42U);
  for (const char* bad : {"root", "0", "'0:'", "':0'", "'0:0:0'", "'-1:0'", "'0:4294967295'",
                          "'4294967296:0'", "bob:bob", "' 0:0'"}) {
    EXPECT_FALSE(read(read_owner, bad)) << bad;
  }
}

TEST(WordReader, TakesItsLettersOnly) {
  WordReader word{kLowerAndDigits, "-.", 4};
  EXPECT_EQ(read(word, "a-.9").value(), "a-.9");
  for (const char* bad : {"''", "abcde", "-a", "A", "a_b", "'a b'"}) {
    EXPECT_FALSE(read(word, bad)) << bad;
  }
}

TEST(HostPathReader, StartsAtTheManifest) {
  std::string folder = "/src/m";
  EXPECT_EQ(read(HostPathReader{folder}, "x/../y").value(), "/src/m/y");
  EXPECT_EQ(read(HostPathReader{folder}, "../y").value(), "/src/y");
  EXPECT_EQ(read(HostPathReader{folder}, "/abs").value(), "/abs");
  EXPECT_FALSE(read(HostPathReader{folder}, "''"));
}

TEST(ImagePathReader, IsNormalAndInTheImage) {
  using Root = ImagePathReader::Root;
  EXPECT_EQ(read(ImagePathReader{Root::kAllowed}, "//srv/./x/").value(), "/srv/x");
  EXPECT_EQ(read(ImagePathReader{Root::kAllowed}, "/").value(), "/");
  for (const char* bad : {"/", "x", "''", "/a/../b"}) {
    EXPECT_FALSE(read(ImagePathReader{Root::kRefused}, bad)) << bad;
  }
}

}  // namespace
}  // namespace cfs::builder
