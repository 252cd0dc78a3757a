// SPDX-License-Identifier: Apache-2.0
#include "lib/erofs/reader.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <map>
#include <random>

#include "lib/erofs/format.h"
#include "lib/erofs/writer.h"
#include "lib/tree/dump.h"

namespace cfs::erofs {
namespace {

std::string image_of(const std::string& entries, const VersionRange& versions = {}) {
  tree::Tree tree = tree::parse_dump("/ 4096 40755 2 0 0 0 0.0 - - -\n" + entries).value();
  std::string image;
  EXPECT_TRUE(write_image(tree, versions, sink_to_string(image)));
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
  EXPECT_TRUE(tree::write_dump(image.tree, {}, sink_to_string(text)));
  return text;
}

/// image → tree → image and image → dump → image give the same bytes.
void expect_stable(const std::string& dump, unsigned version) {
  SCOPED_TRACE("version " + std::to_string(version) + " of:\n" + dump);
  const VersionRange versions{.min = version, .max = version};
  tree::Tree tree = tree::parse_dump(dump).value();
  std::string image;
  if (!write_image(tree, versions, sink_to_string(image))) return;  // beyond a limit
  Image read = read_image(as_bytes(image)).value();
  std::string from_tree;
  ASSERT_TRUE(write_image(read.tree, versions, sink_to_string(from_tree)));
  EXPECT_TRUE(from_tree == image) << "read as:\n" << dump_of(read);
  std::string from_dump;
  tree::Tree again = tree::parse_dump(dump_of(read)).value();
  ASSERT_TRUE(write_image(again, versions, sink_to_string(from_dump)));
  EXPECT_TRUE(from_dump == image) << "dumped as:\n" << dump_of(read);
}

TEST(ReadImage, AFileThatLooksLikeAWhiteoutIsOneInAMarkedDirectoryOnly) {
  const std::string marks = " trusted.overlay.whiteout= user.overlay.whiteout=\n";
  const std::string file = "/d/f 0 100644 1 0 0 0 0.0 - - " + std::string(64, 'c') + marks;
  const std::string directories[] = {
      "/d 0 40755 2 0 0 0 0.0 - - -\n",
      "/d 0 40755 2 0 0 0 0.0 - - - trusted.overlay.whiteouts= user.overlay.whiteouts=x\n",
      "/d 0 40755 2 0 0 0 0.0 - - - trusted.overlay.whiteouts= user.overlay.whiteouts=\n",
      "/d 0 40755 2 0 0 0 0.0 - - - trusted.overlay.whiteouts= user.overlay.whiteouts= "
      "trusted.overlay.opaque=x user.overlay.opaque=x\n"};
  for (const std::string& directory : directories) {
    for (unsigned version : {0U, 1U}) {
      expect_stable("/ 0 40755 2 0 0 0 0.0 - - -\n" + directory + file, version);
    }
  }
  Image plain = read_image(as_bytes(image_of(directories[0] + file))).value();
  EXPECT_TRUE(plain.tree.find("/d/f")->is_regular());
  EXPECT_EQ(plain.tree.find("/d/f")->xattrs().size(), 2U);
}

/// Trees with many names that look like what the writer itself makes, and hard links among them.
std::string random_dump(std::mt19937& random) {
  auto pick = [&](std::initializer_list<const char*> choices) {
    return std::string(*(choices.begin() + random() % choices.size()));
  };
  auto xattrs = [&] {
    std::map<std::string, std::string> chosen;
    for (size_t i = random() % 4; i > 0; --i) {
      chosen[pick({"trusted.overlay.whiteout", "user.overlay.whiteout", "trusted.overlay.whiteouts",
                   "user.overlay.whiteouts", "trusted.overlay.opaque", "user.overlay.opaque",
                   "trusted.overlay.metacopy", "trusted.overlay.redirect",
                   "trusted.overlay.overlay.whiteout", "user.x"})] = pick({"", "", "x", "y"});
    }
    std::string text;
    for (const auto& [key, value] : chosen) text.append(" ").append(key).append("=").append(value);
    return text + "\n";
  };
  std::string dump = "/ 0 40755 2 0 0 0 0.0 - - -" + xattrs();
  std::vector<std::string> files;
  std::function<void(const std::string&, int)> add = [&](const std::string& parent, int depth) {
    for (size_t i = 1 + random() % 3; i > 0; --i) {
      const std::string path = parent + "/" + pick({"a", "b", "c"}) + std::to_string(i);
      const std::string digest(64, pick({"a", "b"})[0]);
      switch (random() % 7) {
        case 0:
        case 1:
          if (depth == 6) break;
          dump += path + " 0 40755 2 0 0 0 0.0 - - -" + xattrs();
          add(path, depth + 1);
          break;
        case 2:
          if (files.empty()) break;
          dump += path + " 0 @100644 1 0 0 0 0.0 " + files[random() % files.size()] + " - -\n";
          break;
        case 3:
          dump += path + " 0 20644 1 0 0 0 0.0 - - -" + xattrs();
          files.push_back(path);
          break;
        case 4:
          dump += path + " 100 100644 1 0 0 0 0.0 ab/cd - " + digest + xattrs();
          files.push_back(path);
          break;
        default:
          dump +=
              path + " 0 100644 1 0 0 0 0.0 " + pick({"-", "ab/cd"}) + " - " + digest + xattrs();
          files.push_back(path);
      }
    }
  };
  add("", 1);
  return dump;
}

TEST(ReadImage, AnyTreeIsStableThroughImageAndDump) {
  std::mt19937 random(7);
  for (int round = 0; round < 1000 && !testing::Test::HasFailure(); ++round) {
    const std::string dump = random_dump(random);
    for (unsigned version : {0U, 1U}) expect_stable(dump, version);
  }
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
