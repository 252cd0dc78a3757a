// SPDX-License-Identifier: Apache-2.0
#include "builder/contents.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "builder/test_support.h"
#include "lib/tree/content_placement.h"

namespace cfs::builder {
namespace {

struct ContentsTest : testing::Test {
  Workbench bench;
  tree::Node& file(const std::string& name) {
    return *must(bench.tree.add(bench.tree.root(), name, {.mode = S_IFREG | 0644}));
  }
};

TEST_F(ContentsTest, SmallOnesAreInTheTreeOthersInTheStore) {
  tree::Node& empty = file("empty");
  tree::Node& small = file("small");
  tree::Node& large = file("large");
  must(bench.contents.put_text(bench.tree, empty, ""));
  must(bench.contents.put_text(bench.tree, small, std::string(tree::kInlineBytes, 's')));
  must(bench.contents.put_text(bench.tree, large, std::string(tree::kInlineBytes + 1, 'l')));
  EXPECT_FALSE(empty.is_external());
  EXPECT_EQ(small.content(), std::string(tree::kInlineBytes, 's'));
  EXPECT_TRUE(large.is_external());
  EXPECT_EQ(large.size_bytes, tree::kInlineBytes + 1);
  EXPECT_EQ(must(bench.contents.read(large, 1000)), std::string(tree::kInlineBytes + 1, 'l'));
  EXPECT_EQ(must(bench.contents.read(small, 1000)), std::string(tree::kInlineBytes, 's'));
}

TEST_F(ContentsTest, PiecesOfAnySizeMakeOneContent) {
  tree::Node& node = file("f");
  std::string text(200, 'x');
  size_t given = 0;
  must(bench.contents.put(bench.tree, node, [&](std::span<std::byte> buffer) -> Result<size_t> {
    size_t count = std::min({buffer.size(), text.size() - given, size_t{7}});
    std::memcpy(buffer.data(), text.data() + given, count);
    given += count;
    return count;
  }));
  EXPECT_EQ(must(bench.contents.read(node, 200)), text);
}

TEST_F(ContentsTest, ReadingHasALimitAndNeedsAFile) {
  tree::Node& node = file("f");
  must(bench.contents.put_text(bench.tree, node, std::string(200, 'x')));
  EXPECT_EQ(bench.contents.read(node, 199).error().code, ErrorCode::kInvalidInput);
  EXPECT_EQ(bench.contents.read(bench.tree.root(), 199).error().code, ErrorCode::kInvalidInput);
}

}  // namespace
}  // namespace cfs::builder
