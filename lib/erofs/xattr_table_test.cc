// SPDX-License-Identifier: Apache-2.0
#include "lib/erofs/xattr_table.h"

#include <gtest/gtest.h>

#include "lib/tree/dump.h"

namespace cfs::erofs {
namespace {

using Pair = std::pair<std::string, std::string>;

tree::Tree parsed(const std::string& entries) {
  return tree::parse_dump("/ 0 40755 2 0 0 0 0.0 - - -\n" + entries).value();
}

std::vector<Pair> made(const tree::Node& node, const XattrContext& context = {}) {
  XattrMaker maker;
  std::vector<Pair> pairs;
  Result<std::span<const ImageXattr>> xattrs = maker.make(node, context);
  EXPECT_TRUE(xattrs);
  if (!xattrs) return pairs;
  for (const ImageXattr& xattr : *xattrs) {
    pairs.emplace_back(xattr.key, xattr.value);
  }
  return pairs;
}

TEST(XattrKey, IsSplitAtTheWellKnownPrefixAndPutTogetherAgain) {
  const std::pair<std::string, unsigned> keys[] = {{"user.a", 1},
                                                   {"system.posix_acl_access", 2},
                                                   {"system.posix_acl_default", 3},
                                                   {"trusted.a", 4},
                                                   {"security.selinux", 6},
                                                   {"system.other", 0},
                                                   {"lustre.lov", 0},
                                                   {"user", 0},
                                                   {"user.", 1}};
  for (const auto& [key, index] : keys) {
    XattrName name = split_xattr_key(key);
    EXPECT_EQ(name.index, index) << key;
    EXPECT_EQ(std::string(xattr_prefix(name.index).value()) + std::string(name.suffix), key);
  }
  EXPECT_EQ(xattr_prefix(5), "lustre.") << "read, never written";
  EXPECT_EQ(xattr_prefix(7), std::nullopt);
}

// Spec: COMPOSEFS-FORMAT.md §7.2, "name_filter", which lists these.
TEST(XattrFilterBit, IsThatOfTheSpecification) {
  EXPECT_EQ(xattr_filter_bit({"trusted.overlay.opaque", ""}), 1U << 20);
  EXPECT_EQ(xattr_filter_bit({"trusted.overlay.metacopy", ""}), 1U << 31);
  EXPECT_EQ(xattr_filter_bit({"trusted.overlay.redirect", ""}), 1U << 17);
  EXPECT_EQ(xattr_filter_bit({"security.selinux", ""}), 1U << 11);
  EXPECT_EQ(xattr_filter_bit({"security.capability", ""}), 1U << 29);
  EXPECT_EQ(xattr_filter_bit({"system.posix_acl_access", ""}), 1U << 30);
  EXPECT_EQ(xattr_filter_bit({"system.posix_acl_default", ""}), 1U << 21);
}

TEST(XattrEntrySize, CountsTheSuffixAndPadsToFour) {
  EXPECT_EQ(xattr_entry_size({"user.", ""}), 4U);
  EXPECT_EQ(xattr_entry_size({"user.a", ""}), 8U);
  EXPECT_EQ(xattr_entry_size({"user.a", "123"}), 8U);
  EXPECT_EQ(xattr_entry_size({"user.a", "1234"}), 12U);
}

TEST(XattrMaker, AddsWhatOverlayfsNeedsAndEscapesWhatIsTheTreesOwn) {
  const std::string digest(64, 'a');
  tree::Tree tree =
      parsed("/e 100 100644 1 0 0 0 0.0 ab/cd - " + digest +
             " user.z=1 trusted.overlay.redirect=own\n" + "/n 100 100644 1 0 0 0 0.0 - - -\n" +
             "/s 0 100644 1 0 0 0 0.0 ab/cd - " + digest + "\n" + "/w 0 20644 1 0 0 0 0.0 - - -\n");
  std::string metacopy("\0\x24\0\x01", 4);
  metacopy += std::string(32, '\xaa');
  EXPECT_EQ(made(*tree.find("/e")), (std::vector<Pair>{{"trusted.overlay.metacopy", metacopy},
                                                       {"trusted.overlay.overlay.redirect", "own"},
                                                       {"trusted.overlay.redirect", "/ab/cd"},
                                                       {"user.z", "1"}}));
  EXPECT_EQ(made(*tree.find("/n")), (std::vector<Pair>{{"trusted.overlay.metacopy", ""}}));
  EXPECT_TRUE(made(*tree.find("/s")).empty()) << "an empty file has no object";
  EXPECT_EQ(made(*tree.find("/w")), (std::vector<Pair>{{"trusted.overlay.overlay.whiteout", ""},
                                                       {"user.overlay.whiteout", ""}}));
  EXPECT_EQ(made(tree.root(), {.is_root = true}),
            (std::vector<Pair>{{"trusted.overlay.opaque", "y"}}));
  EXPECT_EQ(made(tree.root(), {.holds_whiteout = true, .marks_opaque = true}).size(), 4U);
}

TEST(SharedXattrTable, HoldsWhatOccursTwiceOnce) {
  tree::Tree tree = parsed(
      "/a 0 100644 1 0 0 0 0.0 - - - user.twice=x user.once=1\n"
      "/b 0 100644 1 0 0 0 0.0 - - - user.twice=x user.once=2\n"
      "/c 0 100644 1 0 0 0 0.0 - - - user.also=longer\n"
      "/d 0 100644 1 0 0 0 0.0 - - - user.also=longer\n");
  XattrMaker maker;
  SharedXattrTable table;
  for (const tree::Node* node : tree.root().children()) {
    Result<std::span<const ImageXattr>> xattrs = maker.make(*node, {});
    ASSERT_TRUE(xattrs);
    table.count(*xattrs, *node);
  }
  table.finish();
  ASSERT_EQ(table.entries().size(), 2U);
  EXPECT_EQ(table.entries()[0].key, "user.twice") << "keys descending";
  EXPECT_EQ(table.offset_of({"user.twice", "x"}), 0);
  EXPECT_EQ(table.offset_of({"user.also", "longer"}),
            static_cast<int64_t>(xattr_entry_size({"user.twice", "x"})));
  EXPECT_EQ(table.offset_of({"user.once", "1"}), -1);
  EXPECT_EQ(table.size_bytes(),
            xattr_entry_size({"user.twice", "x"}) + xattr_entry_size({"user.also", "longer"}));
}

}  // namespace
}  // namespace cfs::erofs
