// SPDX-License-Identifier: Apache-2.0
#include "lib/erofs/reader.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "lib/erofs/format.h"
#include "lib/erofs/writer.h"
#include "lib/tree/dump.h"

namespace cfs::erofs {
namespace {

std::string image_of(const std::string& entries, const VersionRange& versions = {}) {
  tree::Tree tree = tree::parse_dump("/ 4096 40755 2 0 0 0 0.0 - - -\n" + entries).value();
  std::string image;
  EXPECT_TRUE(write_image(tree, versions, [&](Bytes piece) -> Result<> {
    image += as_text(piece);
    return {};
  }));
  return image;
}

const std::string& sample() {
  static const std::string image = image_of(
      "/d 0 40755 2 0 0 0 0.0 - - - user.a=1\n"
      "/d/a 0 100644 1 0 0 0 0.0 - - -\n"
      "/d/big 100 100644 1 0 0 0 3.0 ab/cd - " +
      std::string(64, 'a') +
      " user.a=1 user.b=2\n"
      "/d/link 5 120777 1 0 0 0 0.0 hello - -\n"
      "/d/small 5 100644 1 0 0 0 0.0 - hello -\n"
      "/d/w 0 20600 1 0 0 0 0.0 - - -\n"
      "/z 0 @100644 1 0 0 0 0.0 /d/big - -\n");
  return image;
}

TEST(ReadImage, GivesTheTreeBack) {
  Image image = read_image(as_bytes(sample())).value();
  EXPECT_EQ(image.version, 1U);
  EXPECT_EQ(image.tree.find("/d/small")->content(), "hello");
  EXPECT_EQ(image.tree.find("/d/link")->symlink_target(), "hello");
  EXPECT_EQ(image.tree.find("/d/big")->payload(), "ab/cd");
  EXPECT_TRUE(image.tree.find("/d/w")->is_whiteout());
  EXPECT_TRUE(image.tree.find("/d/w")->xattrs().empty());
  EXPECT_TRUE(image.tree.find("/z")->is_link());
  EXPECT_EQ(image.tree.find("/00"), nullptr);
  EXPECT_TRUE(check_image(as_bytes(sample())));
}

TEST(ReadImage, AWhiteoutStaysInTheDirectoryThatIsMarkedForIt) {
  // /a/x comes first and, with no inode in between, has the number that is expected there.
  for (unsigned version : {0U, 1U}) {
    std::string image = image_of(
        "/a 0 40755 2 0 0 0 0.0 - - -\n"
        "/b 0 40755 2 0 0 0 0.0 - - -\n"
        "/b/w 0 20000 2 0 0 0 0.0 - - -\n"
        "/a/x 0 @20000 1 0 0 0 0.0 /b/w - -\n",
        {.min = version, .max = version});
    Image read = read_image(as_bytes(image)).value();
    EXPECT_TRUE(read.tree.find("/b/w")->is_whiteout());
    EXPECT_TRUE(read.tree.find("/a/x")->is_link());
    EXPECT_EQ(read.tree.find("/b")->xattr("user.overlay.whiteouts"), nullptr);
    EXPECT_TRUE(check_image(as_bytes(image)));
  }
}

TEST(ReadImage, OtherFilesAreUnsupported) {
  EXPECT_EQ(read_image({}).error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(read_image(as_bytes(std::string(8192, 'x'))).error().code, ErrorCode::kUnsupported);
  std::string other = sample();
  other[4] = 2;
  EXPECT_EQ(read_image(as_bytes(other)).error().code, ErrorCode::kUnsupported);
}

TEST(ReadImage, TruncationIsFoundEverywhere) {
  for (size_t size = 0; size < sample().size(); size += 512) {
    EXPECT_FALSE(read_image(as_bytes(sample().substr(0, size)))) << size;
  }
}

std::string dump_of(const Image& image) {
  std::string text;
  EXPECT_TRUE(tree::write_dump(image.tree, {}, [&](std::string_view piece) -> Result<> {
    text += piece;
    return {};
  }));
  return text;
}

TEST(CheckImage, AFlippedByteIsRefusedOrChangesTheTree) {
  std::string image = sample();
  std::string dump = dump_of(*read_image(as_bytes(image)));
  for (size_t offset = 0; offset < image.size(); offset += (offset < 0x0a00 ? 1 : 5)) {
    image[offset] = static_cast<char>(image[offset] ^ 0x41);
    if (check_image(as_bytes(image))) {
      EXPECT_NE(dump_of(*read_image(as_bytes(image))), dump) << offset;
    }
    image[offset] = static_cast<char>(image[offset] ^ 0x41);
  }
}

TEST(ReadImage, RandomDamageNeverDoesHarm) {
  std::mt19937 random(3);
  for (int round = 0; round < 3000; ++round) {
    std::string image = sample();
    for (unsigned i = 0; i <= random() % 8; ++i) {
      image[1024 + random() % (image.size() - 1024)] = static_cast<char>(random());
    }
    Result<Image> result = read_image(as_bytes(image));
    if (!result) {
      EXPECT_TRUE(result.error().code == ErrorCode::kCorrupt ||
                  result.error().code == ErrorCode::kUnsupported);
    }
  }
}

/// Many directories that all claim the same big block would be a small file with much to read.
TEST(ReadImage, BytesCannotBeClaimedTwice) {
  std::string entries;
  for (int i = 0; i < 200; ++i) {
    entries += "/d" + std::to_string(i) + " 0 40755 2 0 0 0 0.0 - - -\n";
  }
  entries += "/e 0 40755 2 0 0 0 0.0 - - -\n";
  for (int i = 0; i < 300; ++i) {
    entries += "/e/name" + std::to_string(i) + " 0 100644 1 0 0 0 0.0 - - -\n";
  }
  std::string image = image_of(entries);
  // Every directory inode that has its entries inline gets a plain layout of 64 blocks.
  for (size_t offset = kFirstInodeOffset; offset + 32 <= image.size(); offset += 32) {
    CompactInode inode;
    std::memcpy(static_cast<void*>(&inode), image.data() + offset, sizeof(inode));
    if (inode.mode != (S_IFDIR | 0755) || inode.nlink != 2) continue;
    inode.format = 0;
    inode.size = 64 * 4096;
    inode.u = 0;
    std::memcpy(image.data() + offset, &inode, sizeof(inode));
  }
  EXPECT_EQ(read_image(as_bytes(image)).error().code, ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace cfs::erofs
