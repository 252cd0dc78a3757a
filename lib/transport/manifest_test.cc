// SPDX-License-Identifier: Apache-2.0
#include "lib/transport/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cfs::transport {
namespace {

using ::testing::HasSubstr;

verity::Digest digest(char c) { return *verity::Digest::parse(std::string(64, c)); }
std::string hex(char c) { return std::string(64, c); }

const std::string kGood = "cfs-transport 1\nimage " + hex('f') + " 8192 100\nobject " + hex('1') +
                          " 5 6\nobject " + hex('2') + " 9007199254740991 7\n";

std::string serialise(const Manifest& manifest) {
  std::string text;
  Result<> written = write_manifest(manifest, sink_to_string(text));
  EXPECT_TRUE(written);
  return text;
}

TEST(TransportTest, RoundTripInPiecesOfAnySize) {
  Manifest expected{{digest('f'), 8192, 100},
                    {{digest('1'), 5, 6}, {digest('2'), 9007199254740991, 7}}};
  EXPECT_EQ(serialise(expected), kGood);
  for (size_t step : {size_t{1}, size_t{7}, kGood.size()}) {
    ManifestParser parser;
    for (size_t at = 0; at < kGood.size(); at += step) {
      ASSERT_TRUE(parser.feed(std::string_view(kGood).substr(at, step)));
    }
    Result<Manifest> manifest = parser.finish();
    ASSERT_TRUE(manifest) << manifest.error().describe();
    EXPECT_EQ(*manifest, expected);
  }
}

TEST(TransportTest, EveryTruncationIsRefusedOrShorter) {
  for (size_t length = 0; length < kGood.size(); ++length) {
    Result<Manifest> manifest = parse_manifest(std::string_view(kGood).substr(0, length));
    if (!manifest) continue;
    EXPECT_EQ(kGood[length - 1], '\n');
    EXPECT_EQ(serialise(*manifest), kGood.substr(0, length));
  }
}

TEST(TransportTest, RefusesAnythingElse) {
  const std::string head = "cfs-transport 1\nimage " + hex('f') + " 1 1\n";
  for (const std::string& text : {
           std::string("cfs-transport 1\n"),

           "cfs-transport\n" + kGood.substr(16),
           "\n" + kGood,
           kGood + "\n",
           kGood + "x",
           kGood + kGood,
           head + "object " + hex('1') + " 01 1\n",
           head + "object " + hex('1') + " 1\n",
           head + "object " + hex('1') + " 1 1 1\n",
           head + "object " + hex('1') + " 1 1 \n",
           head + "object  " + hex('1') + " 1 1\n",
           head + "object " + hex('1') + " -1 1\n",
           head + "object " + hex('1') + " 1 0\n",
           head + "object " + hex('1') + " 1 9007199254740992\n",
           head + "object " + hex('1') + " 1 99999999999999999999\n",
           head + "object " + hex('A') + " 1 1\n",
           head + "object " + hex('1') + "1 1 1\n",
           head + "object " + hex('1').substr(1) + " 1 1\n",
           head + "image " + hex('1') + " 1 1\n",
           head + "object " + hex('f') + " 1 1\n",
           head + "object " + hex('2') + " 1 1\nobject " + hex('1') + " 1 1\n",
           head + "object " + hex('2') + " 1 1\nobject " + hex('2') + " 1 1\n",
           head + std::string(200, 'x') + "\n",
       }) {
    Result<Manifest> manifest = parse_manifest(text);
    ASSERT_FALSE(manifest) << text;
    EXPECT_EQ(manifest.error().code, ErrorCode::kCorrupt) << text;
  }
  for (std::string_view header :
       {"cfs-transport 2\n", "cfs-transport 1\r\n", "cfs-transport  1\n"}) {
    EXPECT_EQ(parse_manifest(header).error().code, ErrorCode::kUnsupported);
  }
}

TEST(TransportTest, AnEndlessLineOrFileIsCutOff) {
  ManifestParser line;
  EXPECT_FALSE(line.feed(std::string(1000, 'a')));

  ManifestParser file;
  ASSERT_TRUE(file.feed("cfs-transport 1\nimage " + hex('f') + " 1 1\n"));
  Result<> result;
  uint64_t fed = 0;
  for (uint64_t number = 0; result && fed <= kMaxManifestBytes; ++number) {
    std::array<std::byte, 32> raw{};
    for (size_t i = 0; i < 8; ++i) raw[i] = static_cast<std::byte>(number >> (56 - 8 * i));
    std::string text = "object " + to_hex(raw) + " 1000000000 1000000000\n";
    fed += text.size();
    result = file.feed(text);
  }
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("larger than"));
}

TEST(TransportTest, WriterRefusesDisorder) {
  Manifest manifest{{digest('f'), 1, 1}, {{digest('2'), 1, 1}, {digest('1'), 1, 1}}};
  Result<> written = write_manifest(manifest, [](Bytes) -> Result<> { return {}; });
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, ErrorCode::kInvalidInput);
}

}  // namespace
}  // namespace cfs::transport
