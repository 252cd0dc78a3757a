// SPDX-License-Identifier: Apache-2.0
#include "builder/sources/tar_header.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "builder/sources/raw_tar.h"

namespace cfs::builder {
namespace {

using namespace raw_tar;  // NOLINT(google-build-using-namespace)

/// A field of 12 bytes.
std::string field(std::string text) {
  text.resize(12);
  return text;
}

TarHeader header_of(const Header& fields) {
  TarHeader header;
  std::memcpy(&header, block(fields).data(), sizeof(header));
  return header;
}

TEST(TarNumbers, AreOctalOrBase256) {
  struct Case {
    std::string text;
    int64_t value;
  };
  for (const Case& test : std::vector<Case>{
           {"00000000012", 10},
           {"       12 ", 10},
           {std::string("12\0garbage", 10), 10},
           {std::string("\0 12", 4), 10},  // a leading NUL, as GNU tar
           {"", 0},
           {"777777777777", 0777777777777},
           {base256("\x01\x02", 12), 0x102},
           {base256(std::string("\x80\0\0\0", 4), 12), 0x80000000},
           {base256("\x7f\xff\xff\xff\xff\xff\xff\xff", 12), std::numeric_limits<int64_t>::max()},
           {base256("\xfe", 12, true), -2},
           {base256(std::string("\x80\0\0\0\0\0\0\0", 8), 12, true),
            std::numeric_limits<int64_t>::min()},
       }) {
    EXPECT_EQ(parse_tar_number(field(test.text)), test.value) << test.text;
  }
  for (const std::string& text :
       {std::string("            "), std::string("12a"), std::string("-12"), std::string("+12"),
        std::string("0x12"), std::string("8"), base256(std::string("\x80\0\0\0\0\0\0\0", 8), 12),
        base256(std::string("\x7f\0\0\0\0\0\0\0", 8), 12, true),
        std::string("\x81\0\0\0\0\0\0\0\0\0\0\0", 12)}) {
    EXPECT_EQ(parse_tar_number(field(text)), std::nullopt) << text;
  }
}

TEST(TarNumbers, AreDecimalInText) {
  EXPECT_EQ(parse_tar_decimal("0"), 0U);
  EXPECT_EQ(parse_tar_decimal("007"), 7U);
  EXPECT_EQ(parse_tar_decimal("9223372036854775807"), 9223372036854775807U);
  for (const char* text :
       {"", "-1", "+1", " 1", "1 ", "0x1", "9223372036854775808", "18446744073709551616"}) {
    EXPECT_EQ(parse_tar_decimal(text), std::nullopt) << text;
  }
}

TEST(TarHeader, IsKnownByItsChecksumOfSignedOrUnsignedBytes) {
  Header fields{.name = "caf\xe9"};
  EXPECT_TRUE(is_tar_header(as_bytes(block(fields))));
  fields.signed_checksum = true;
  std::string right = block(fields);
  EXPECT_TRUE(is_tar_header(as_bytes(right + "behind it")));
  for (size_t at = 0; at < right.size(); ++at) {
    if (at == 155) continue;  // in the field, behind the end of the number
    std::string wrong = right;
    ++wrong[at];
    EXPECT_FALSE(is_tar_header(as_bytes(wrong))) << at;
  }
  EXPECT_FALSE(is_tar_header(as_bytes(std::string(512, '\0'))));
  // The right number, but not octal.
  unsigned long checksum = std::stoul(right.substr(148, 6), nullptr, 8);
  std::string base = right;
  base.replace(148, 8,
               base256({static_cast<char>(checksum >> 8), static_cast<char>(checksum & 0xff)}, 8));
  EXPECT_FALSE(is_tar_header(as_bytes(base)));
}

TEST(TarHeader, OnlyPosixHasAPrefix) {
  const std::string prefix(155, 'p');
  Header fields{.name = std::string(100, 'n'), .raw = {{345, prefix}}};
  EXPECT_EQ(tar_format_of(header_of(fields)), TarFormat::kPosix);
  EXPECT_EQ(tar_name_of(header_of(fields)), prefix + "/" + fields.name);
  fields.magic = kGnuMagic;
  EXPECT_EQ(tar_format_of(header_of(fields)), TarFormat::kGnu);
  EXPECT_EQ(tar_name_of(header_of(fields)), fields.name);
  fields.magic = "";
  EXPECT_EQ(tar_format_of(header_of(fields)), TarFormat::kV7);
  EXPECT_EQ(tar_name_of(header_of(fields)), fields.name);
  EXPECT_EQ(tar_name_of(header_of({.name = ""})), "");
}

}  // namespace
}  // namespace cfs::builder
