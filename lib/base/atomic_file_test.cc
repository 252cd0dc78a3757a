// SPDX-License-Identifier: Apache-2.0
#include "lib/base/atomic_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/io.h"

namespace cfs {
namespace {

class AtomicFileTest : public testing::Test {
 protected:
  [[nodiscard]] std::string path(const std::string& name) const {
    return directory_.path() + "/" + name;
  }
  [[nodiscard]] std::string content(const std::string& name) const {
    return read_file(AT_FDCWD, path(name), 100).value_or("<none>");
  }
  [[nodiscard]] std::vector<std::string> names() const {
    return list_directory(AT_FDCWD, directory_.path()).value();
  }

  TemporaryDirectory directory_ = TemporaryDirectory::create().value();
};

TEST_F(AtomicFileTest, TheNameMeansTheOldContentUntilItIsPublished) {
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, path("f"), as_bytes("old")));
  {
    AtomicFile file = AtomicFile::create(AT_FDCWD, path("f"), 0640).value();
    ASSERT_TRUE(write_full(file.fd(), as_bytes("new")));
    EXPECT_EQ(content("f"), "old");
    EXPECT_EQ(names().size(), 2U);
    ASSERT_TRUE(file.publish());
    EXPECT_EQ(content("f"), "new");
  }
  EXPECT_EQ(content("f"), "new");
  EXPECT_EQ(stat_at(AT_FDCWD, path("f"), 0).value().st_mode & 07777U, 0640U);
  EXPECT_EQ(names(), std::vector<std::string>{"f"});
}

TEST_F(AtomicFileTest, GivenUpItLeavesNothing) {
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, path("f"), as_bytes("old")));
  { AtomicFile file = AtomicFile::create(AT_FDCWD, path("f"), 0644).value(); }
  EXPECT_EQ(content("f"), "old");
  EXPECT_EQ(names(), std::vector<std::string>{"f"});
}

TEST_F(AtomicFileTest, WhatIsThereIsNotReplacedWhenThatIsRefused) {
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, path("f"), as_bytes("old"), 0644, Existing::kRefuse));
  Result<> second =
      write_file_atomically(AT_FDCWD, path("f"), as_bytes("new"), 0644, Existing::kRefuse);
  EXPECT_EQ(second.error().code, ErrorCode::kExists);
  EXPECT_EQ(content("f"), "old");
  EXPECT_EQ(names(), std::vector<std::string>{"f"});
}

TEST_F(AtomicFileTest, AModeIsExactWhateverTheUmask) {
  mode_t old = ::umask(0777);
  Result<> written = write_file_atomically(AT_FDCWD, path("f"), as_bytes("x"), 0444);
  ::umask(old);
  ASSERT_TRUE(written);
  EXPECT_EQ(stat_at(AT_FDCWD, path("f"), 0).value().st_mode & 07777U, 0444U);
}

TEST_F(AtomicFileTest, ASymlinkIsReplacedAndNotWrittenThrough) {
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, path("target"), as_bytes("old")));
  ASSERT_EQ(::symlink("target", path("link").c_str()), 0);
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, path("link"), as_bytes("new")));
  EXPECT_EQ(content("target"), "old");
  EXPECT_EQ(content("link"), "new");
}

TEST_F(AtomicFileTest, ErrorsNameTheFile) {
  Error error = write_file_atomically(AT_FDCWD, path("no/f"), as_bytes("x")).error();
  EXPECT_EQ(error.code, ErrorCode::kNotFound);
  EXPECT_NE(error.describe().find("no/f"), std::string::npos);
  for (const char* name : {"", ".", "..", "f/"}) {
    EXPECT_EQ(AtomicFile::create(AT_FDCWD, path(name), 0644).error().code, ErrorCode::kInvalidInput)
        << name;
  }
  ASSERT_EQ(::mkdir(path("directory").c_str(), 0755), 0);
  EXPECT_FALSE(write_file_atomically(AT_FDCWD, path("directory"), as_bytes("x")));
  EXPECT_EQ(names(), std::vector<std::string>{"directory"});
}

TEST_F(AtomicFileTest, ADirectoryThatCannotBeReadCanBeWrittenTo) {
  if (::geteuid() == 0) {
    // Root reads every directory: try it as somebody else.
    ASSERT_EQ(::chown(directory_.path().c_str(), 12345, 12345), 0);
    ASSERT_EQ(::seteuid(12345), 0);
  }
  ASSERT_EQ(::chmod(directory_.path().c_str(), 0300), 0);
  Result<> written = write_file_atomically(AT_FDCWD, path("f"), as_bytes("x"));
  ASSERT_EQ(::chmod(directory_.path().c_str(), 0700), 0);
  ASSERT_EQ(::seteuid(::getuid()), 0);
  ASSERT_TRUE(written) << written.error().describe();
  EXPECT_EQ(content("f"), "x");
}

}  // namespace
}  // namespace cfs
