// SPDX-License-Identifier: Apache-2.0
#include "lib/tree/tree.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "lib/verity/merkle.h"

namespace cfs::tree {
namespace {

constexpr Attributes kDirectory{.mode = S_IFDIR | 0755};
constexpr Attributes kFile{.mode = S_IFREG | 0644};
constexpr Attributes kSymlink{.mode = S_IFLNK | 0777};

std::vector<std::string> paths(const Tree& tree) {
  std::vector<std::string> result;
  EXPECT_TRUE(tree.for_each([&](const Node& node) -> Result<> {
    result.push_back(node.path());
    return {};
  }));
  return result;
}

TEST(Tree, SortsNamesByBytesAndFindsThem) {
  Tree tree;
  Node* dir = tree.add(tree.root(), "d", kDirectory).value();
  for (const char* name : {"b", "\xc3\xa9", "-x", "a", "a.b", "B"}) {
    ASSERT_TRUE(tree.add(*dir, name, kFile));
  }
  EXPECT_EQ(paths(tree), (std::vector<std::string>{"/", "/d", "/d/-x", "/d/B", "/d/a", "/d/a.b",
                                                   "/d/b", "/d/\xc3\xa9"}));
  EXPECT_EQ(tree.find("/d/a.b")->path(), "/d/a.b");
  EXPECT_EQ(tree.find("/"), &tree.root());
  EXPECT_EQ(tree.find("/d/a/x"), nullptr);
  EXPECT_EQ(tree.find("/d/"), nullptr);
  EXPECT_EQ(tree.find("d"), nullptr);
  EXPECT_EQ(tree.find("//d"), nullptr);
}

TEST(Tree, MovesWithAllThatIsBelow) {
  Tree tree;
  Node* from = tree.add(tree.root(), "from", kDirectory).value();
  Node* to = tree.add(tree.root(), "to", kDirectory).value();
  Node* file = tree.add(*from, "file", kFile).value();
  ASSERT_TRUE(tree.add_link(*to, "other", *file));
  ASSERT_TRUE(tree.move(*from, *to, "new"));
  EXPECT_EQ(paths(tree),
            (std::vector<std::string>{"/", "/to", "/to/new", "/to/new/file", "/to/other"}));
  EXPECT_EQ(tree.find("/to/new/file"), file);
  EXPECT_EQ(tree.find("/from"), nullptr);
  EXPECT_EQ(&tree.find("/to/other")->inode(), file);

  EXPECT_EQ(tree.move(*file, *to, "other").error().code, ErrorCode::kExists);
  EXPECT_EQ(tree.move(*file, *to, "a/b").error().code, ErrorCode::kInvalidInput);
  EXPECT_EQ(tree.move(*tree.find("/to/other"), *file, "x").error().code, ErrorCode::kInvalidInput);
  EXPECT_EQ(tree.find("/to/new/file"), file);
  ASSERT_TRUE(tree.move(*file, tree.root(), "a"));
  EXPECT_EQ(paths(tree), (std::vector<std::string>{"/", "/a", "/to", "/to/new", "/to/other"}));
}

TEST(Tree, RefusesBadNamesTypesAndDuplicates) {
  Tree tree;
  Node& root = tree.root();
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string("a/b"),
        std::string("a\0b", 3), std::string(256, 'n')}) {
    EXPECT_EQ(tree.add(root, name, kFile).error().code, ErrorCode::kInvalidInput) << name;
  }
  EXPECT_TRUE(tree.add(root, std::string(255, 'n'), kFile));
  EXPECT_FALSE(tree.add(root, "x", {.mode = 0644}));
  Node* file = tree.add(root, "f", kFile).value();
  EXPECT_EQ(tree.add(root, "f", kDirectory).error().code, ErrorCode::kExists);
  EXPECT_EQ(tree.add(*file, "x", kFile).error().code, ErrorCode::kInvalidInput);
}

TEST(Tree, KeepsTheLimitsOfTheFormat) {
  Tree tree;
  Node* file = tree.add(tree.root(), "f", kFile).value();
  EXPECT_TRUE(tree.set_content(*file, std::string(5000, 'x')));
  EXPECT_FALSE(tree.set_content(*file, std::string(5001, 'x')));
  Node* link = tree.add(tree.root(), "l", kSymlink).value();
  EXPECT_TRUE(tree.set_symlink_target(*link, std::string(4095, 'x')));
  EXPECT_FALSE(tree.set_symlink_target(*link, std::string(4096, 'x')));
  EXPECT_FALSE(tree.set_symlink_target(*link, ""));
  EXPECT_FALSE(tree.set_xattr(*file, "", "v"));
  EXPECT_FALSE(tree.set_xattr(*file, std::string(256, 'k'), "v"));
  // 12 + 7 + 6 + value ≤ 32767
  EXPECT_TRUE(tree.set_xattr(*file, "user.a", std::string(32742, 'v')));
  EXPECT_FALSE(tree.set_xattr(*file, "user.a", std::string(32743, 'v')));
  EXPECT_FALSE(tree.set_xattr(*file, "user.b", ""));
  EXPECT_TRUE(tree.set_xattr(*file, "user.a", ""));
  EXPECT_TRUE(tree.set_xattr(*file, "user.b", std::string(32000, 'v')));
  tree.remove_xattr(*file, "user.b");
  EXPECT_TRUE(tree.set_xattr(*file, "user.c", std::string(32700, 'v')));
}

TEST(Tree, XattrsAreSortedUniqueAndShared) {
  Tree tree;
  Node* a = tree.add(tree.root(), "a", kFile).value();
  Node* b = tree.add(tree.root(), "b", kFile).value();
  ASSERT_TRUE(tree.set_xattr(*a, "user.z", "1"));
  ASSERT_TRUE(tree.set_xattr(*a, "user.a", "2"));
  ASSERT_TRUE(tree.set_xattr(*a, "user.z", "3"));
  ASSERT_TRUE(tree.set_xattr(*b, "user.z", "3"));
  ASSERT_EQ(a->xattrs().size(), 2U);
  EXPECT_EQ(a->xattrs()[0]->key, "user.a");
  EXPECT_EQ(a->xattr("user.z")->value, "3");
  EXPECT_EQ(a->xattr("user.z"), b->xattr("user.z"));
}

TEST(Tree, RemovingTheHolderOfAFileHandsItToTheNextName) {
  Tree tree;
  Node* dir = tree.add(tree.root(), "d", kDirectory).value();
  Node* file = tree.add(*dir, "file", kFile).value();
  verity::Digest digest = verity::digest_of(as_bytes("x"));
  tree.set_object(*file, digest, 77);
  ASSERT_TRUE(tree.set_xattr(*file, "user.a", "v"));
  Node* first = tree.add_link(tree.root(), "k1", *file).value();
  Node* second = tree.add_link(tree.root(), "k2", *first).value();
  ASSERT_TRUE(tree.add_link(*dir, "inside", *file));
  tree.count_links();
  EXPECT_EQ(file->attributes.nlink, 4U);

  tree.remove(*dir);
  tree.count_links();
  EXPECT_EQ(paths(tree), (std::vector<std::string>{"/", "/k1", "/k2"}));
  EXPECT_FALSE(first->is_link());
  EXPECT_EQ(&second->inode(), first);
  EXPECT_EQ(first->size_bytes, 77U);
  EXPECT_EQ(*first->digest(), digest);
  EXPECT_EQ(first->payload(), digest.object_path());
  EXPECT_EQ(first->attributes.nlink, 2U);
  EXPECT_EQ(first->xattr("user.a")->value, "v");

  tree.remove(*first);
  tree.count_links();
  EXPECT_FALSE(second->is_link());
  EXPECT_EQ(second->attributes.nlink, 1U);
}

TEST(Tree, LinksToDirectoriesAreRefused) {
  Tree tree;
  Node* dir = tree.add(tree.root(), "d", kDirectory).value();
  EXPECT_EQ(tree.add_link(tree.root(), "l", *dir).error().code, ErrorCode::kInvalidInput);
}

TEST(Tree, ManyAdditionsAndRemovalsKeepTheIndexRight) {
  Tree tree;
  std::set<std::string> expected;
  std::mt19937 random(7);
  for (int i = 0; i < 20000; ++i) {
    std::string name = "n" + std::to_string(random() % 3000);
    Node* node = tree.child(tree.root(), name);
    ASSERT_EQ(node != nullptr, expected.contains(name));
    if (node != nullptr) {
      tree.remove(*node);
      expected.erase(name);
    } else {
      ASSERT_TRUE(tree.add(tree.root(), name, kFile));
      expected.insert(name);
    }
  }
  EXPECT_EQ(tree.root().children().size(), expected.size());
}

TEST(Tree, FirstNameHoldsTheFile) {
  Tree tree;
  Node* dir = tree.add(tree.root(), "d", kDirectory).value();
  Node* last = tree.add(tree.root(), "z", kFile).value();
  ASSERT_TRUE(tree.set_content(*last, "text"));
  ASSERT_TRUE(tree.set_xattr(*last, "user.a", "b"));
  ASSERT_TRUE(tree.add_link(tree.root(), "y", *last));
  ASSERT_TRUE(tree.add_link(*dir, "first", *last));
  Node* alone = tree.add(tree.root(), "alone", kFile).value();
  Node* fine = tree.add(tree.root(), "f", kFile).value();
  ASSERT_TRUE(tree.add_link(tree.root(), "g", *fine));

  for (int i = 0; i < 2; ++i) {
    tree.order_links();
    tree.count_links();
    Node* first = tree.find("/d/first");
    EXPECT_FALSE(first->is_link());
    EXPECT_EQ(first->content(), "text");
    EXPECT_EQ(first->xattr("user.a")->value, "b");
    EXPECT_EQ(first->attributes.nlink, 3U);
    EXPECT_EQ(&tree.find("/y")->inode(), first);
    EXPECT_EQ(&tree.find("/z")->inode(), first);
    EXPECT_FALSE(alone->has_links());
    EXPECT_FALSE(fine->is_link());
    EXPECT_EQ(fine->attributes.nlink, 2U);
  }
  tree.remove(*tree.find("/d/first"));
  tree.count_links();
  EXPECT_EQ(tree.find("/y")->content(), "text");
  EXPECT_EQ(tree.find("/y")->attributes.nlink, 2U);
}

}  // namespace
}  // namespace cfs::tree
