// SPDX-License-Identifier: Apache-2.0
#include "builder/passes/merge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "builder/test_support.h"

namespace cfs::builder {
namespace {

using testing::HasSubstr;

constexpr tree::Attributes kFile = {.mode = S_IFREG | 0644};
constexpr tree::Attributes kDirectory = {.mode = S_IFDIR | 0700};

struct MergeTest : testing::Test {
  tree::Tree tree;
  Merger merger{tree};
  void put_symlink(const std::string& path, const std::string& target) {
    tree::Node* node = must(merger.put(path, {.mode = S_IFLNK | 0777}));
    must(tree.set_symlink_target(*node, target));
  }
};

TEST_F(MergeTest, ResolvesAsAProcessInTheImageWould) {
  put_symlink("lib", "usr/lib");
  put_symlink("usr/lib/deep", "/usr/lib/../share");
  must(merger.put("lib/x", kFile));
  must(merger.put("lib/deep/y", kFile));
  put_symlink("above", "../../../etc");
  must(merger.put("above/z", kFile));
  EXPECT_NE(tree.find("/usr/lib/x"), nullptr);
  EXPECT_NE(tree.find("/usr/share/y"), nullptr);
  EXPECT_NE(tree.find("/etc/z"), nullptr) << "the root is its own parent";
  EXPECT_TRUE(tree.find("/lib")->is_symlink());
}

TEST_F(MergeTest, DirectoriesKeepTheirEntriesOthersAreReplaced) {
  must(merger.put("d/a", kFile));
  must(merger.put("d", kDirectory));
  EXPECT_EQ(tree.find("/d")->attributes.mode, kDirectory.mode);
  EXPECT_NE(tree.find("/d/a"), nullptr);
  put_symlink("d/a", "b");
  EXPECT_TRUE(tree.find("/d/a")->is_symlink());
  EXPECT_THAT(merger.put("d", kFile).error().message,
              HasSubstr("'/d' is a directory with entries"));
}

TEST_F(MergeTest, ASymlinkToADirectoryStays) {
  must(merger.put("usr/lib", kDirectory));
  put_symlink("lib", "usr/lib");
  must(merger.put("lib", {.mode = S_IFDIR | 0711}));
  EXPECT_TRUE(tree.find("/lib")->is_symlink());
  EXPECT_EQ(tree.find("/usr/lib")->attributes.mode, S_IFDIR | 0711U);
  must(merger.put("lib", kFile));
  EXPECT_TRUE(tree.find("/lib")->is_regular());
}

TEST_F(MergeTest, LinksLeadToFilesThatAreThere) {
  must(merger.put("a", kFile));
  must(merger.put_link("b/c", "a"));
  EXPECT_EQ(&tree.find("/b/c")->inode(), tree.find("/a"));
  must(merger.put_link("b/c", "a"));
  EXPECT_THAT(merger.put_link("x", "none").error().message, HasSubstr("which is not there"));
  EXPECT_THAT(merger.put_link("x", "b").error().message, HasSubstr("to the directory"));
}

TEST_F(MergeTest, AFileIsFoundThroughLinks) {
  must(merger.put("opt/file", kFile));
  put_symlink("etc/absolute", "/opt/file");
  put_symlink("etc/relative", "../opt/./file");
  put_symlink("etc/circle", "circle");
  put_symlink("etc/nowhere", "/none");
  put_symlink("etc/directory", "/opt");
  tree::Node* file = tree.find("/opt/file");
  for (const char* path : {"opt/file", "etc/absolute", "etc/relative"}) {
    EXPECT_EQ(must(merger.find_file(path)), file) << path;
  }
  for (const char* path : {"etc/circle", "etc/nowhere", "etc/directory", "opt"}) {
    EXPECT_EQ(must(merger.find_file(path)), nullptr) << path;
  }
}

TEST_F(MergeTest, SymlinksInACircleEnd) {
  put_symlink("a", "b");
  put_symlink("b", "a");
  EXPECT_THAT(merger.put("a/x", kFile).error().message, HasSubstr("too many symlinks"));
  EXPECT_FALSE(merger.find_directory("a"));
}

TEST_F(MergeTest, AFileIsNoDirectory) {
  must(merger.put("f", kFile));
  EXPECT_THAT(merger.put("f/x", kFile).error().message,
              HasSubstr("'/f/x' cannot be made: '/f' is not a directory"));
  EXPECT_EQ(must(merger.find("f/x")), nullptr);
  EXPECT_EQ(must(merger.find_directory("none/x")), nullptr);
}

}  // namespace
}  // namespace cfs::builder
