// SPDX-License-Identifier: Apache-2.0
#include "lib/erofs/writer.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "lib/base/io.h"
#include "lib/tree/dump.h"

namespace cfs::erofs {
namespace {

constexpr std::string_view kRoot = "/ 4096 40755 2 0 0 0 0.0 - - -\n";

tree::Tree parsed(const std::string& entries) {
  return tree::parse_dump(std::string(kRoot) + entries).value();
}

// The bytes themselves are compared with the reference's in tests/golden.

TEST(WriteImage, AFileAPipeAndNothingGiveTheSameDigest) {
  tree::Tree tree = parsed("/a 5 100644 1 0 0 0 0.0 - hello -\n");
  TemporaryDirectory dir = TemporaryDirectory::create().value();
  UniqueFd fd = open_at(AT_FDCWD, dir.path() + "/i", O_RDWR | O_CREAT, 0600).value();
  ImageInfo to_file = write_image(tree, {}, fd.get()).value();
  ImageInfo to_nothing = write_image(tree, {}, -1).value();
  EXPECT_EQ(to_file.digest, to_nothing.digest);
  EXPECT_EQ(fstat_fd(fd.get()).value().st_size, static_cast<off_t>(to_file.size_bytes));
  EXPECT_EQ(to_file.inode_count, 258U);
}

TEST(WriteImage, ChoosesTheLowestVersionThatHoldsTheTree) {
  tree::Tree plain = parsed("");
  tree::Tree whiteout = parsed("/w 0 20000 1 0 0 0 0.0 - - -\n");
  EXPECT_EQ(write_image(plain, {}, -1)->version, 0U);
  EXPECT_EQ(write_image(whiteout, {}, -1)->version, 1U);
  EXPECT_EQ(write_image(whiteout, {.min = 0, .max = 0}, -1)->version, 0U);
  EXPECT_EQ(write_image(plain, {.min = 1, .max = 0}, -1)->version, 1U);
  EXPECT_EQ(write_image(plain, {.min = 2, .max = 2}, -1).error().code, ErrorCode::kUnsupported);
}

TEST(WriteImage, RefusesFilesBeyondTheFormat) {
  EXPECT_TRUE(write_image(parsed("/a 9007199254740992 100644 1 0 0 0 0.0 - - -\n"), {}, -1));
  Result<ImageInfo> info =
      write_image(parsed("/a 9007199254740993 100644 1 0 0 0 0.0 - - -\n"), {}, -1);
  ASSERT_FALSE(info);
  EXPECT_NE(info.error().message.find("/a"), std::string::npos);
}

TEST(WriteImage, ReportsAFullDisk) {
  UniqueFd full = open_at(AT_FDCWD, "/dev/full", O_WRONLY).value();
  EXPECT_EQ(write_image(parsed(""), {}, full.get()).error().code, ErrorCode::kNoSpace);
}

}  // namespace
}  // namespace cfs::erofs
