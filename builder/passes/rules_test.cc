// SPDX-License-Identifier: Apache-2.0
#include "builder/passes/rules.h"

#include <gtest/gtest.h>

#include "builder/test_support.h"

namespace cfs::builder {
namespace {

constexpr int64_t kEpoch = 1600000000;

using Kind = FileRule::Kind;

FileRule rule(Kind kind, const std::string& path, const std::string& place = "") {
  return {.kind = kind, .path = path, .text = "text", .mode = 0644, .place = place};
}

TEST(Rules, AreAppliedInOrder) {
  TarMaker tar;
  tar.add("usr/lib/", {.type = '5', .mode = 0755});
  tar.add("lib", {.type = '2', .link = "usr/lib"});
  tar.add("doc/a/b", {});
  Workbench bench;
  must(bench.import(tar.finish()));
  std::vector<FileRule> rules = {
      {.kind = FileRule::Kind::kExclude, .path = "/doc/**", .place = "m:1: "},
      {.kind = FileRule::Kind::kContent,
       .path = "/doc/new",
       .text = "n",
       .mode = 0600,
       .owner = {3, 4}},
      {.kind = FileRule::Kind::kSymlink, .path = "/lib/l", .text = "t", .mode = 0777},
      {.kind = FileRule::Kind::kDirectory, .path = "/srv", .mode = 0700},
      {.kind = FileRule::Kind::kExclude, .path = "/none", .optional = true}};
  must(apply_rules(rules, kEpoch, bench.rootfs));
  EXPECT_EQ(bench.tree.find("/doc/a"), nullptr);
  EXPECT_EQ(bench.at("/doc/new").attributes.mode, S_IFREG | 0600U);
  EXPECT_EQ(bench.at("/doc/new").attributes.uid, 3U);
  EXPECT_EQ(bench.at("/doc/new").attributes.mtime.seconds, kEpoch);
  EXPECT_EQ(bench.at("/usr/lib/l").symlink_target(), "t");
  EXPECT_EQ(bench.at("/srv").attributes.mode, S_IFDIR | 0700U);
}

TEST(Rules, MatchingNothingNamesTheRule) {
  Workbench bench;
  std::vector<FileRule> rules = {
      {.kind = FileRule::Kind::kExclude, .path = "/none", .place = "m.yaml:3:4: files[0]: "}};
  Result<> done = apply_rules(rules, kEpoch, bench.rootfs);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().message, "m.yaml:3:4: files[0]: '/none' matches nothing in the image");
}

TEST(Rules, BelowAFileIsRefusedBeforeThereIsATree) {
  std::vector<FileRule> rules = {rule(Kind::kDirectory, "/a"), rule(Kind::kContent, "/a/x"),
                                 rule(Kind::kSymlink, "/a/x/b/c", "m.yaml:7:5: files[2]: ")};
  EXPECT_EQ(check_rules(rules).error().message,
            "m.yaml:7:5: files[2]: '/a/x/b/c' cannot be below '/a/x', which files[1] makes a file");
}

TEST(Rules, AFileMayMakeWayForADirectory) {
  std::vector<FileRule> rules = {
      rule(Kind::kContent, "/a"), rule(Kind::kExclude, "/?"),   rule(Kind::kContent, "/a/b"),
      rule(Kind::kContent, "/c"), rule(Kind::kDirectory, "/c"), rule(Kind::kContent, "/c/d"),
      rule(Kind::kSymlink, "/e"), rule(Kind::kContent, "/e/f"), rule(Kind::kContent, "/ef")};
  EXPECT_TRUE(check_rules(rules));
}

}  // namespace
}  // namespace cfs::builder
