// SPDX-License-Identifier: Apache-2.0
#include "lib/base/free_space.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "lib/base/io.h"

namespace cfs {
namespace {

TEST(FreeSpace, LooksAtAFileSystem) {
  UniqueFd root = open_at(AT_FDCWD, "/", O_PATH | O_DIRECTORY).value();
  EXPECT_GT(file_system_space(root.get()).value().free_bytes, 0U);
  UniqueFd proc = open_at(AT_FDCWD, "/proc", O_PATH | O_DIRECTORY).value();
  EXPECT_EQ(file_system_space(proc.get()).value().free_bytes, 0U);
  EXPECT_EQ(require_space(proc.get(), "'/proc'", 1).error().code, ErrorCode::kNoSpace);
}

TEST(FreeSpace, TheMessageSaysWhatIsMissing) {
  FileSystemSpace space{.free_bytes = 1'000'000, .free_inodes = 10, .is_read_only = false};
  EXPECT_TRUE(require_space(space, "'/x'", 1'000'000, 10));
  Error error = require_space(space, "'/x'", 3'000'000).error();
  EXPECT_EQ(error.code, ErrorCode::kNoSpace);
  EXPECT_EQ(error.message, "'/x' needs 3.0 MB free and has 1.0 MB");
  EXPECT_EQ(error.hint, "free 2.0 MB or more and try again");
  EXPECT_EQ(require_space(space, "'/x'", 1, 11).error().message,
            "'/x' needs 11 free inodes and has 10");
}

TEST(FreeSpace, AFileSystemWithoutANumberOfInodesHasEnough) {
  EXPECT_TRUE(require_space(FileSystemSpace{.free_bytes = 5, .free_inodes = {}}, "x", 5, 1'000));
}

}  // namespace
}  // namespace cfs
