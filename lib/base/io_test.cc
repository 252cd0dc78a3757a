// SPDX-License-Identifier: Apache-2.0
#include "lib/base/io.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace cfs {
namespace {

TEST(Io, ReadFileRefusesMoreThanTheLimit) {
  TemporaryDirectory dir = TemporaryDirectory::create().value();
  std::string path = dir.path() + "/f";
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, path, as_bytes("12345")));
  EXPECT_EQ(read_file(AT_FDCWD, path, 5).value(), "12345");
  EXPECT_EQ(read_file(AT_FDCWD, path, 4).error().code, ErrorCode::kInvalidInput);
  EXPECT_EQ(read_file(AT_FDCWD, path, 4, Maker::kCfs).error().code, ErrorCode::kCorrupt);
}

TEST(Io, OpenBeneathRefusesSymlinksAndDotDot) {
  TemporaryDirectory dir = TemporaryDirectory::create().value();
  UniqueFd fd = open_at(AT_FDCWD, dir.path(), O_RDONLY | O_DIRECTORY).value();
  ASSERT_EQ(::symlinkat("/etc", fd.get(), "link"), 0);
  EXPECT_FALSE(open_beneath(fd.get(), "link/passwd", O_RDONLY));
  EXPECT_FALSE(open_beneath(fd.get(), "../etc", O_RDONLY));
  EXPECT_TRUE(open_beneath(fd.get(), "new", O_WRONLY | O_CREAT, 0600));
}

TEST(OpenRegular, RefusesAFifoWithoutWaitingForItsWriter) {
  TemporaryDirectory directory = std::move(TemporaryDirectory::create().value());
  std::string fifo = directory.path() + "/fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  UniqueFd parent = std::move(open_at(AT_FDCWD, directory.path(), O_RDONLY | O_DIRECTORY).value());
  EXPECT_EQ(open_regular_at(AT_FDCWD, fifo).error().code, ErrorCode::kInvalidInput);
  EXPECT_EQ(open_regular_beneath(parent.get(), "fifo").error().code, ErrorCode::kInvalidInput);
  EXPECT_EQ(open_regular_at(AT_FDCWD, directory.path()).error().code, ErrorCode::kInvalidInput);
}

TEST(Io, MakeDirectoriesMakesParentsAndTakesWhatIsThere) {
  TemporaryDirectory dir = TemporaryDirectory::create().value();
  ASSERT_TRUE(make_directories(AT_FDCWD, dir.path() + "/a/b/c"));
  ASSERT_TRUE(make_directories(AT_FDCWD, dir.path() + "/a/b/c"));
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, dir.path() + "/a/f", as_bytes("x")));
  EXPECT_FALSE(make_directories(AT_FDCWD, dir.path() + "/a/f"));
  EXPECT_FALSE(make_directories(AT_FDCWD, dir.path() + "/a/f/g"));
}

TEST(Io, ListDirectoryIsSortedAndTheDescriptorStaysUsable) {
  TemporaryDirectory dir = TemporaryDirectory::create().value();
  UniqueFd fd = open_at(AT_FDCWD, dir.path(), O_RDONLY | O_DIRECTORY).value();
  for (const char* name : {"b", "a", "\xff", "B"}) {
    ASSERT_TRUE(make_directories(fd.get(), name));
  }
  const std::vector<std::string> sorted{"B", "a", "b", "\xff"};
  EXPECT_EQ(list_directory(fd.get(), ".").value(), sorted);
  EXPECT_EQ(list_directory(fd.get(), ".").value(), sorted);
}

TEST(Io, RemoveTreeFollowsNoSymlinks) {
  TemporaryDirectory dir = TemporaryDirectory::create().value();
  ASSERT_TRUE(make_directories(AT_FDCWD, dir.path() + "/kept/below"));
  ASSERT_TRUE(make_directories(AT_FDCWD, dir.path() + "/gone/deep"));
  ASSERT_EQ(::symlink("../../kept", (dir.path() + "/gone/deep/link").c_str()), 0);
  ASSERT_TRUE(remove_tree(AT_FDCWD, dir.path() + "/gone"));
  ASSERT_TRUE(remove_tree(AT_FDCWD, dir.path() + "/gone"));
  EXPECT_EQ(list_directory(AT_FDCWD, dir.path()).value(), std::vector<std::string>{"kept"});
  EXPECT_TRUE(stat_at(AT_FDCWD, dir.path() + "/kept/below", 0));
}

TEST(Io, ReadsAndWritesAtOffsetsPastShortCounts) {
  TemporaryDirectory dir = TemporaryDirectory::create().value();
  UniqueFd fd = open_at(AT_FDCWD, dir.path() + "/f", O_RDWR | O_CREAT, 0600).value();
  ASSERT_TRUE(pwrite_full(fd.get(), as_bytes("world"), 6));
  ASSERT_TRUE(pwrite_full(fd.get(), as_bytes("hello "), 0));
  std::string text(20, '?');
  EXPECT_EQ(pread_full(fd.get(), std::as_writable_bytes(std::span(text)), 0).value(), 11U);
  EXPECT_EQ(text.substr(0, 11), "hello world");
  EXPECT_EQ(pread_full(fd.get(), std::as_writable_bytes(std::span(text)), 100).value(), 0U);
}

}  // namespace
}  // namespace cfs
