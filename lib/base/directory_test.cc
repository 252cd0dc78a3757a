// SPDX-License-Identifier: Apache-2.0
#include "lib/base/directory.h"

#include <gtest/gtest.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lib/base/io.h"

namespace cfs {
namespace {

/// `inside/` is the directory under test; `outside/secret` is what a planted symlink leads to.
class DirectoryTest : public testing::Test {
 protected:
  DirectoryTest() {
    EXPECT_TRUE(make_directories(root_.get(), "inside/real"));
    EXPECT_TRUE(make_directories(root_.get(), "outside/kept"));
    EXPECT_TRUE(write_file_atomically(root_.get(), "outside/secret", as_bytes("secret")));
    EXPECT_EQ(::symlinkat("../outside", root_.get(), "inside/link"), 0);
    EXPECT_EQ(::symlinkat("/etc", root_.get(), "inside/absolute"), 0);
    EXPECT_EQ(::symlinkat("real", root_.get(), "inside/within"), 0);
    EXPECT_EQ(::symlinkat("../outside/secret", root_.get(), "inside/file-link"), 0);
  }
  ~DirectoryTest() override {
    // Whatever a test tried, nothing outside has changed.
    EXPECT_EQ(list_directory(root_.get(), "outside").value(),
              (std::vector<std::string>{"kept", "secret"}));
    EXPECT_EQ(read_file(root_.get(), "outside/secret", 100).value(), "secret");
  }
  static void expect_refused(const Result<>& result) {
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::kInvalidInput) << result.error().describe();
  }
  template <typename T>
  static void expect_refused(const Result<T>& result) {
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::kInvalidInput) << result.error().describe();
  }

  TemporaryDirectory temporary_ = TemporaryDirectory::create().value();
  UniqueFd root_ = open_at(AT_FDCWD, temporary_.path(), O_RDONLY | O_DIRECTORY).value();
  Directory inside_ = make_inside();

 private:
  [[nodiscard]] Directory make_inside() const {
    EXPECT_TRUE(make_directories(root_.get(), "inside"));
    return std::move(Directory::open(root_.get(), "inside").value());
  }
};

TEST_F(DirectoryTest, DoesWhatADirectoryIsFor) {
  ASSERT_TRUE(inside_.make_directories("a/b", 0750));
  ASSERT_TRUE(inside_.write_file("a/b/f", as_bytes("one"), 0640));
  ASSERT_TRUE(inside_.write_file("a/b/f", as_bytes("two"), 0600));
  EXPECT_EQ(inside_.read_file("a/b/f", 10).value(), "two");
  EXPECT_EQ(inside_.read_file("a/b/f", 2).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(inside_.stat("a/b/f").value().st_mode & 07777U, 0600U);
  ASSERT_TRUE(inside_.rename("a/b/f", "a/g"));
  EXPECT_EQ(inside_.list("a").value(), (std::vector<std::string>{"b", "g"}));
  EXPECT_TRUE(inside_.exists("a/g").value());
  EXPECT_FALSE(inside_.exists("a/b/f").value());
  EXPECT_FALSE(inside_.exists("no/f").value());
  ASSERT_TRUE(inside_.remove_file("a/g"));
  ASSERT_TRUE(inside_.remove_file("a/g"));
  ASSERT_TRUE(inside_.remove_file("no/g"));
  EXPECT_TRUE(inside_.sync());
  EXPECT_TRUE(inside_.sync("a"));
  Directory a = inside_.open_directory("a").value();
  EXPECT_EQ(a.list().value(), std::vector<std::string>{"b"});
  ASSERT_TRUE(inside_.remove_tree("a"));
  EXPECT_FALSE(inside_.exists("a").value());
}

TEST_F(DirectoryTest, SymlinksAreReadAndReplacedAndNeverFollowed) {
  EXPECT_EQ(inside_.read_link("link").value(), "../outside");
  expect_refused(inside_.read_link("real"));
  EXPECT_TRUE(S_ISLNK(inside_.stat("link").value().st_mode));
  ASSERT_TRUE(inside_.write_symlink("link", "elsewhere"));
  EXPECT_EQ(inside_.read_link("link").value(), "elsewhere");
  ASSERT_TRUE(inside_.write_symlink("real/new", "x"));
  EXPECT_EQ(inside_.list("real").value(), std::vector<std::string>{"new"});
}

TEST_F(DirectoryTest, NothingLeadsThroughASymlink) {
  for (const std::string link : {"link", "absolute", "within"}) {
    SCOPED_TRACE(link);
    const std::string below = link + "/secret";
    expect_refused(inside_.open_directory(link));
    expect_refused(inside_.list(link));
    expect_refused(inside_.sync(link));
    expect_refused(inside_.remove_stale(link));
    expect_refused(inside_.open_file(below));
    expect_refused(inside_.open_file(link + "/new", O_WRONLY | O_CREAT, 0644));
    expect_refused(inside_.read_file(below, 100));
    expect_refused(inside_.stat(below));
    expect_refused(inside_.exists(below));
    expect_refused(inside_.read_link(below));
    expect_refused(inside_.make_directories(link, 0755));
    expect_refused(inside_.make_directories(link + "/new", 0755));
    expect_refused(inside_.create_file(link + "/new", 0644));
    expect_refused(inside_.write_file(below, as_bytes("x"), 0644));
    expect_refused(inside_.write_symlink(link + "/new", "x"));
    expect_refused(inside_.rename(below, "stolen"));
    expect_refused(inside_.rename("real", link + "/new"));
    expect_refused(inside_.remove_file(below));
    expect_refused(inside_.remove_tree(link + "/kept"));
  }
  expect_refused(inside_.open_file("file-link"));
  expect_refused(inside_.open_file("file-link", O_WRONLY | O_TRUNC));
  expect_refused(inside_.read_file("file-link", 100));
  EXPECT_EQ(list_directory(root_.get(), "inside").value(),
            (std::vector<std::string>{"absolute", "file-link", "link", "real", "within"}));
}

TEST_F(DirectoryTest, WhatIsRemovedIsTheSymlinkAndNotWhatItMeans) {
  ASSERT_TRUE(inside_.remove_tree("link"));
  ASSERT_TRUE(inside_.remove_file("file-link"));
  ASSERT_EQ(::symlinkat("../../outside", root_.get(), "inside/real/link"), 0);
  ASSERT_TRUE(inside_.remove_tree("real"));
  EXPECT_EQ(inside_.list().value(), (std::vector<std::string>{"absolute", "within"}));
}

TEST_F(DirectoryTest, AFileIsWrittenInThePlaceOfASymlink) {
  ASSERT_TRUE(inside_.write_file("file-link", as_bytes("mine"), 0644));
  EXPECT_EQ(inside_.read_file("file-link", 100).value(), "mine");
}

TEST_F(DirectoryTest, OtherPathsThanPlainOnesAreRefused) {
  for (const std::string path : {"..", "../outside", "/etc", "", "a//b", "a/", "./a", "a/../b"}) {
    SCOPED_TRACE(path);
    expect_refused(inside_.open_directory(path));
    expect_refused(inside_.open_file(path));
    expect_refused(inside_.make_directories(path, 0755));
    expect_refused(inside_.write_file(path, as_bytes("x"), 0644));
    expect_refused(inside_.rename("real", path));
    expect_refused(inside_.remove_tree(path));
  }
  expect_refused(inside_.remove_tree("."));
}

TEST_F(DirectoryTest, WhatIsNotARegularFileIsNotOpened) {
  ASSERT_EQ(::mkfifoat(root_.get(), "inside/fifo", 0600), 0);
  expect_refused(inside_.open_file("fifo"));
  expect_refused(inside_.open_file("fifo", O_WRONLY));
  expect_refused(inside_.read_file("fifo", 100));
  expect_refused(inside_.open_file("real"));
  if (::mknodat(root_.get(), "inside/null", S_IFCHR | 0600, makedev(1, 3)) == 0) {
    expect_refused(inside_.open_file("null"));
    expect_refused(inside_.open_file("null", O_WRONLY));
  }
  ASSERT_TRUE(inside_.write_file("f", as_bytes("x"), 0644));
  expect_refused(inside_.open_directory("f"));
  expect_refused(inside_.make_directories("f/a", 0755));
  expect_refused(inside_.list("f/a"));
}

TEST_F(DirectoryTest, ModesAreAsAskedWhateverTheUmask) {
  for (mode_t mask : {0000U, 0077U, 0777U}) {
    mode_t old = ::umask(mask);
    Result<> made = inside_.make_directories("a/b", 0755);
    Result<> written = inside_.write_file("a/f", as_bytes("x"), 0644);
    ::umask(old);
    ASSERT_TRUE(made && written);
    for (const char* path : {"a", "a/b"}) {
      EXPECT_EQ(inside_.stat(path).value().st_mode & 07777U, 0755U);
    }
    EXPECT_EQ(inside_.stat("a/f").value().st_mode & 07777U, 0644U);
    ASSERT_TRUE(inside_.remove_tree("a"));
  }
  ASSERT_EQ(::fchmodat(root_.get(), "inside/real", 0711, 0), 0);
  ASSERT_TRUE(inside_.make_directories("real/a", 0755));
  EXPECT_EQ(inside_.stat("real").value().st_mode & 07777U, 0711U) << "what is there stays";
}

TEST_F(DirectoryTest, RemoveStaleLeavesWhatIsInUse) {
  AtomicFile file = inside_.create_file("f", 0644).value();
  ASSERT_TRUE(inside_.write_file(".cfs-tmp-0123456789abcdef", as_bytes("left"), 0644));
  ASSERT_TRUE(inside_.remove_stale());
  EXPECT_FALSE(inside_.exists(".cfs-tmp-0123456789abcdef").value());
  ASSERT_TRUE(file.publish());
  EXPECT_TRUE(inside_.exists("f").value());
  EXPECT_TRUE(inside_.remove_stale("no-such-directory"));
}

}  // namespace
}  // namespace cfs
