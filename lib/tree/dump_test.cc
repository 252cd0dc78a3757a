// SPDX-License-Identifier: Apache-2.0
#include "lib/tree/dump.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "lib/base/io.h"

namespace cfs::tree {
namespace {

constexpr std::string_view kRoot = "/ 4096 40755 2 0 0 0 0.0 - - -\n";

std::string dumped(const Tree& tree, std::vector<std::string> top_level = {}) {
  std::string text;
  EXPECT_TRUE(write_dump(tree, {.top_level = top_level}, sink_to_string(text)));
  return text;
}

TEST(Dump, AContentLeftOutIsAnEmptyOne) {
  for (const char* line : {"/a 100 100644 1 0 0 0 0.0 x/y", "/a 100 100644 1 0 0 0 0.0",
                           "/a 100 100644 1 0 0 0 0.0 -  -", "/a 3 120777 1 0 0 0 0.0 abc",
                           "/a 7 10644 1 0 0 0 0.0"}) {
    EXPECT_FALSE(parse_dump(std::string(kRoot) + line + "\n")) << line;
  }
  EXPECT_FALSE(parse_dump("/ 4096 40755 2 0 0 0 0.0\n"));
  EXPECT_TRUE(parse_dump("/ 0 40755 2 0 0 0 0.0\n/a 0 100644 1 0 0 0 0.0 -\n"));
}

TEST(Dump, RoundTripsEveryKindOfField) {
  std::string text =
      "/ 0 40755 2 1 2 0 -5.7 - - - security.selinux=ctx\\x00\n"
      "/a 5 100644 1 0 0 0 1.999999999 - a\\n\\x20-\\\\ - user.a\\x3d=\\x3d\\xff user.b=-\n"
      "/b 100 104755 2 4294967295 0 0 0.0 ab/" +
      std::string(62, 'c') + " - ab" + std::string(62, 'c') + "\n" +
      "/c 100 @104755 2 4294967295 0 0 0.0 /b - -\n"
      "/d 1 120777 1 0 0 0 0.0 \\x2d - -\n"
      "/e 0 60666 1 0 0 259 0.0 - - -\n"
      "/f 100 100644 1 0 0 0 0.0 x/y - -\n";
  Tree tree = parse_dump(text).value();
  // A link is printed with its target's attributes, digest included.
  std::string expected = text;
  size_t link = expected.find("/b - -\n");
  expected.replace(link, 6, "/b - ab" + std::string(62, 'c'));
  EXPECT_EQ(dumped(tree), expected);
  EXPECT_EQ(tree.find("/")->attributes.mtime.seconds, -5);
  EXPECT_EQ(tree.find("/a")->content(), "a\n -\\");
}

TEST(Dump, SelectsTopLevelNames) {
  Tree tree = parse_dump(std::string(kRoot) + "/a 0 40755 2 0 0 0 0.0 - - -\n" +
                         "/a/x 0 100644 1 0 0 0 0.0 - - -\n/b 0 100644 1 0 0 0 0.0 - - -\n")
                  .value();
  EXPECT_EQ(dumped(tree, {"a"}),
            "/ 0 40755 2 0 0 0 0.0 - - -\n/a 0 40755 2 0 0 0 0.0 - - -\n"
            "/a/x 0 100644 1 0 0 0 0.0 - - -\n");
}

TEST(Dump, LinksMayComeBeforeTheirTargetsAndInChains) {
  Tree tree = parse_dump(std::string(kRoot) + "/a 0 @100644 1 0 0 0 0.0 /b - -\n" +
                         "/b 0 @100644 1 0 0 0 0.0 /c - -\n/c 0 100644 3 0 0 0 0.0 - - -\n")
                  .value();
  EXPECT_EQ(&tree.find("/a")->inode(), tree.find("/c"));
  EXPECT_EQ(&tree.find("/b")->inode(), tree.find("/c"));
}

TEST(Dump, ErrorsNameTheLine) {
  Result<Tree> tree = parse_dump(std::string(kRoot) + "/a 0 644 1 0 0 0 0.0 - - -\n");
  ASSERT_FALSE(tree);
  EXPECT_NE(tree.error().describe().find("line 2"), std::string::npos) << tree.error().describe();
}

TEST(Dump, ReadsFromAFileOfAnySizeAndALastLineWithoutNewline) {
  std::string text(kRoot);
  for (int i = 0; i < 20000; ++i) {
    text += "/file" + std::to_string(i) + " 0 100644 1 0 0 0 0.0 - - -\n";
  }
  text.pop_back();
  TemporaryDirectory dir = TemporaryDirectory::create().value();
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, dir.path() + "/d", as_bytes(text)));
  UniqueFd fd = open_at(AT_FDCWD, dir.path() + "/d", O_RDONLY).value();
  EXPECT_EQ(read_dump(fd.get()).value().root().children().size(), 20000U);
}

TEST(Dump, LongChainsAndDeepTreesAreLinear) {
  std::string text(kRoot);
  for (int i = 0; i < 100000; ++i) {
    text +=
        "/l" + std::to_string(i) + " 0 @100644 1 0 0 0 0.0 /l" + std::to_string(i + 1) + " - -\n";
  }
  text += "/l100000 0 100644 1 0 0 0 0.0 - - -\n";
  Tree tree = parse_dump(text).value();
  EXPECT_EQ(tree.root().children().size(), 100001U);
  for (const Node* node : tree.root().children()) {
    ASSERT_EQ(&node->inode(), tree.find("/l100000")) << node->path();
  }
}

}  // namespace
}  // namespace cfs::tree
