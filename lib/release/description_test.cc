// SPDX-License-Identifier: Apache-2.0
#include "lib/release/description.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/time.h"
#include "lib/json/canonical.h"
#include "lib/json/reader.h"

namespace cfs::release {
namespace {

using ::testing::HasSubstr;

verity::Digest digest(char c) { return *verity::Digest::parse(std::string(64, c)); }

ReleaseDescription example() {
  ReleaseDescription description;
  description.name = "debian-minimal";
  description.version = "1";
  description.epoch = 1;
  description.arch = "amd64";
  description.channel = "stable";
  description.compatible = {"acme,board-2"};
  description.created = 1700000000;
  description.image = {digest('a'), 8192};
  description.objects = {3, 12345};
  description.kernel = {"6.12.9", "quiet composefs.digest=" + std::string(64, 'a')};
  description.files = {{"debian-minimal_1.efi", "uki", digest('b'), 99}};
  description.transport = ReleaseDescription::Transport{digest('c'), 500};
  return description;
}

// The example with the value at `path` ("image.size") replaced; null removes it.
std::string with(std::string_view path, const json::Value& value) {
  json::Value json = *json::parse(*serialise_description(example()), {}, "test");
  json::Value* at = &json;
  while (true) {
    size_t dot = path.find('.');
    auto& object = *at->as<json::Value::Object>();
    if (dot == std::string_view::npos) {
      if (value.is_null()) {
        object.erase(std::string(path));
      } else {
        object[std::string(path)] = value;
      }
      return json::to_canonical(json);
    }
    at = &object[std::string(path.substr(0, dot))];
    path.remove_prefix(dot + 1);
  }
}

TEST(DescriptionTest, StateVersionIsOptional) {
  ReleaseDescription description = example();
  EXPECT_EQ(serialise_description(description)->find("state_version"), std::string::npos);
  description.state_version = 3;
  std::string text = *serialise_description(description);
  EXPECT_NE(text.find("\"state_version\":3"), std::string::npos);
  EXPECT_EQ(parse_description(text).value(), description);
  EXPECT_EQ(parse_description(with("state_version", uint64_t{0})).value(), example());
  for (const json::Value& bad : {json::Value("1"), json::Value(true), json::Value(int64_t{-1})}) {
    EXPECT_EQ(parse_description(with("state_version", bad)).error().code, ErrorCode::kCorrupt);
  }
  description.state_version = uint64_t{1} << 53;
  EXPECT_EQ(serialise_description(description).error().code, ErrorCode::kInvalidInput);
}

TEST(DescriptionTest, RoundTripIsCanonical) {
  ReleaseDescription description = example();
  Result<std::string> text = serialise_description(description);
  ASSERT_TRUE(text) << text.error().describe();
  std::string a(64, 'a');
  std::string b(64, 'b');
  std::string c(64, 'c');
  EXPECT_EQ(*text, R"({"arch":"amd64","channel":"stable","compatible":["acme,board-2"],)"
                   R"("created":1700000000,"epoch":1,"files":[{"name":"debian-minimal_1.efi",)"
                   R"("role":"uki","sha256":")" +
                       b + R"(","size":99}],"image":{"digest":")" + a +
                       R"(","size":8192},"kernel":{"cmdline":"quiet composefs.digest=)" + a +
                       R"(","version":"6.12.9"},"name":"debian-minimal",)"
                       R"("objects":{"count":3,"size":12345},"schema":1,"transport":{"sha256":")" +
                       c + R"(","size":500},"version":"1"})" + "\n");
  Result<ReleaseDescription> parsed = parse_description(*text);
  ASSERT_TRUE(parsed) << parsed.error().describe();
  EXPECT_EQ(*parsed, description);
  ASSERT_NE(parsed->file_with_role("uki"), nullptr);
  EXPECT_EQ(parsed->file_with_role("uki")->name, "debian-minimal_1.efi");
  EXPECT_EQ(parsed->file_with_role("sbom"), nullptr);
}

TEST(DescriptionTest, TransportMayBeAbsentAndUnknownKeysAreIgnored) {
  Result<ReleaseDescription> parsed = parse_description(with("transport", json::Value()));
  ASSERT_TRUE(parsed);
  EXPECT_FALSE(parsed->transport);
  EXPECT_TRUE(parse_description(with("image.note", "new")));
}

TEST(DescriptionTest, EveryFieldIsRequired) {
  for (std::string_view path :
       {"schema",         "name",         "version",          "epoch",
        "arch",           "channel",      "compatible",       "created",
        "image",          "image.digest", "image.size",       "objects",
        "objects.count",  "objects.size", "kernel",           "kernel.version",
        "kernel.cmdline", "files",        "transport.sha256", "transport.size"}) {
    Result<ReleaseDescription> parsed = parse_description(with(path, json::Value()));
    ASSERT_FALSE(parsed) << path;
    EXPECT_EQ(parsed.error().code, ErrorCode::kCorrupt);
    EXPECT_EQ(parsed.error().message, "release.json: '" + std::string(path) + "' is missing");
  }
}

TEST(DescriptionTest, EveryFieldIsChecked) {
  const json::Value file = json::Value::Object{
      {"name", "x"}, {"role", "uki"}, {"sha256", std::string(64, 'a')}, {"size", 1}};
  auto file_with = [&](const char* key, json::Value value) {
    json::Value changed = file;
    (*changed.as<json::Value::Object>())[key] = std::move(value);
    return json::Value(json::Value::Array{changed});
  };
  const std::vector<std::pair<std::string_view, json::Value>> cases = {
      {"name", ""},
      {"name", "Debian"},
      {"name", "-x"},
      {"name", ".x"},
      {"name", "a/b"},
      {"name", "a_b"},
      {"name", std::string(65, 'a')},
      {"name", 7},
      {"version", ""},
      {"version", "1_2"},
      {"version", "../1"},
      {"version", "~1"},
      {"version", std::string(65, '1')},
      {"epoch", -1},
      {"epoch", "1"},
      {"arch", "AMD64"},
      {"channel", "a.b"},
      {"channel", std::string(33, 'a')},
      {"compatible", "x"},
      {"compatible", json::Value::Array{1}},
      {"compatible", json::Value::Array{"a b"}},
      {"compatible", json::Value::Array(65, "a")},
      {"created", -5},
      {"created", kMaxTime + 1},
      {"image.digest", std::string(63, 'a')},
      {"image.digest", std::string(64, 'A')},
      {"image.size", 0},
      {"objects.count", -1},
      {"kernel.version", "6\n"},
      {"kernel.cmdline", std::string(4097, 'a')},
      {"kernel.cmdline", "a\tb"},
      {"kernel.cmdline", "composefs.digest=" + std::string(64, 'b')},
      {"kernel.cmdline", "x composefs.digest=v1-sha256-12:" + std::string(64, 'b')},
      {"kernel.cmdline", "\"composefs.digest=" + std::string(64, 'b') + "\""},
      {"kernel.cmdline",
       "composefs.digest=" + std::string(64, 'a') + " composefs.digest=" + std::string(64, 'b')},
      {"kernel.cmdline", "composefs.digest="},
      {"files", json::Value::Object{}},
      {"files", json::Value::Array(65, file)},
      {"files", json::Value::Array{file, file}},
      {"files", file_with("name", "../x")},
      {"files", file_with("name", ".x")},
      {"files", file_with("name", "a/b")},
      {"files", file_with("name", "release.json")},
      {"files", file_with("name", "os_2.release.json")},
      {"files", file_with("role", "")},
      {"files", file_with("sha256", "00")},
      {"files", file_with("size", -1)},
      {"transport", "x"},
      {"transport.size", 0},
      {"transport.size", (64 << 20) + 1},
  };
  for (const auto& [path, value] : cases) {
    Result<ReleaseDescription> parsed = parse_description(with(path, value));
    ASSERT_FALSE(parsed) << path << " " << json::to_canonical(value);
    EXPECT_EQ(parsed.error().code, ErrorCode::kCorrupt);
    EXPECT_THAT(parsed.error().message, HasSubstr("'" + std::string(path)));
  }
  EXPECT_TRUE(parse_description(with("files", json::Value::Array{file})));
  EXPECT_TRUE(parse_description(
      with("kernel.cmdline", "composefs.digest=v1-sha256-12:" + std::string(64, 'a') + " quiet")));
  EXPECT_TRUE(parse_description(with(
      "kernel.cmdline", "composefs.digest=" + std::string(64, 'A') + " -- composefs.digest=x")));
}

TEST(DescriptionTest, SchemaAndSize) {
  EXPECT_EQ(parse_description(with("schema", 2)).error().code, ErrorCode::kUnsupported);
  std::string text = *serialise_description(example());
  EXPECT_FALSE(parse_description(text + std::string(kMaxDescriptionBytes, ' ')));
  EXPECT_FALSE(parse_description(text.substr(0, text.size() / 2)));
}

TEST(DescriptionTest, WriterRefusesWhatTheReaderRefuses) {
  ReleaseDescription description = example();
  description.name = "a/b";
  EXPECT_EQ(serialise_description(description).error().code, ErrorCode::kInvalidInput);
  description = example();
  description.epoch = uint64_t{json::kMaxInteger} + 1;
  EXPECT_EQ(serialise_description(description).error().code, ErrorCode::kInvalidInput);
  description = example();
  description.files[0].size_bytes = ~uint64_t{0};
  EXPECT_EQ(serialise_description(description).error().code, ErrorCode::kInvalidInput);
  description = example();
  description.kernel.version = "\xff";
  EXPECT_EQ(serialise_description(description).error().code, ErrorCode::kInvalidInput);
}

}  // namespace
}  // namespace cfs::release
