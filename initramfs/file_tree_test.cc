// SPDX-License-Identifier: Apache-2.0
#include "initramfs/file_tree.h"

#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <utility>

#include "initramfs/etc_fixture.h"

namespace cfs::initramfs {
namespace {

class FileTree : public EtcTest {
 protected:
  [[nodiscard]] Result<> copy(const std::string& name, CopyInto into = CopyInto::kTree) const {
    std::filesystem::create_directories(path("to"));
    return copy_entry(open("from").get(), name, open("to").get(), "copy", into);
  }
  [[nodiscard]] bool is_same(const std::string& one, const std::string& other) const {
    return is_same_entry(open(".").get(), one, open(".").get(), other).value();
  }
};

TEST_F(FileTree, CopiesWhatItFinds) {
  const Files files = {{"d/file", std::string(200'000, 'x')},
                       {"d/empty", ""},
                       {"d/e/f/deep", "z"},
                       {"d/link", "-> /etc/passwd"},
                       {"d/none", "dir"}};
  make("from", files);
  ASSERT_EQ(::mkfifo(path("from/d/fifo").c_str(), 0640), 0);
  ASSERT_EQ(::chmod(path("from/d/file").c_str(), 04750), 0);
  ASSERT_EQ(::chmod(path("from/d/e").c_str(), 01700), 0);
  ASSERT_TRUE(copy("d"));
  EXPECT_TRUE(is_same("from/d", "to/copy"));
  struct stat status = {};
  ASSERT_EQ(::stat(path("to/copy/file").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode, S_IFREG | 04750U);
  ASSERT_EQ(::stat(path("to/copy/fifo").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode, S_IFIFO | 0640U);
}

TEST_F(FileTree, KeepsTimes) {
  make("from", {{"d/file", "x"}});
  for (const char* name : {"from/d/file", "from/d"}) {
    const timespec times[2] = {{.tv_sec = 1000, .tv_nsec = 7}, {.tv_sec = 2000, .tv_nsec = 9}};
    ASSERT_EQ(::utimensat(AT_FDCWD, path(name).c_str(), times, 0), 0);
  }
  ASSERT_TRUE(copy("d"));
  for (const char* name : {"to/copy/file", "to/copy"}) {
    struct stat status = {};
    ASSERT_EQ(::stat(path(name).c_str(), &status), 0);
    EXPECT_EQ(status.st_mtim.tv_sec, 2000) << name;
    EXPECT_EQ(status.st_mtim.tv_nsec, 9) << name;
  }
}

TEST_F(FileTree, RefusesDirectoriesWithoutEnd) {
  std::string deep = "d";
  for (int i = 0; i < 100; ++i) deep += "/d";
  make("from", {{deep, "dir"}});
  EXPECT_EQ(copy("d").error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(is_same_entry(open("from").get(), "d", open("from").get(), "d").error().code,
            ErrorCode::kCorrupt);
}

TEST_F(FileTree, TellsWhatDiffers) {
  make(".", {{"a/f", "1"},
             {"same/f", "1"},
             {"content/f", "2"},
             {"more/f", "1"},
             {"more/g", ""},
             {"link/f", "-> 1"},
             {"link2/f", "-> 2"},
             {"mode/f", "1"},
             {"inner/f", "1"}});
  ASSERT_EQ(::chmod(path("mode/f").c_str(), 0600), 0);
  ASSERT_EQ(::chmod(path("inner").c_str(), 0700), 0);
  EXPECT_TRUE(is_same("a", "same"));
  EXPECT_TRUE(is_same("missing", "missing too"));
  for (const char* other : {"content", "more", "link", "mode", "inner", "missing"}) {
    EXPECT_FALSE(is_same("a", other)) << other;
    EXPECT_FALSE(is_same(other, "a")) << other;
  }
  EXPECT_FALSE(is_same("link", "link2"));
}

// Where the file system of the test has such attributes, and the user may make such files.
TEST_F(FileTree, ExtendedAttributesAndMarks) {
  make("from", {{"d/file", "x"}});
  bool has_user = ::setxattr(path("from/d/file").c_str(), "user.a", "1", 1, 0) == 0;
  bool is_root = ::mknod(path("from/d/gone").c_str(), S_IFCHR, makedev(0, 0)) == 0 &&
                 ::setxattr(path("from/d").c_str(), "trusted.overlay.opaque", "y", 1, 0) == 0 &&
                 ::setxattr(path("from/d").c_str(), "trusted.overlay.redirect", "/x", 2, 0) == 0;
  RecordProperty("has_user_xattrs", has_user ? 1 : 0);
  RecordProperty("is_root", is_root ? 1 : 0);
  char value[2];
  for (CopyInto into : {CopyInto::kTree, CopyInto::kLayer}) {
    std::filesystem::remove_all(path("to"));
    ASSERT_TRUE(copy("d", into));
    if (has_user) {
      EXPECT_EQ(::getxattr(path("to/copy/file").c_str(), "user.a", value, 2), 1);
    }
    if (!is_root) continue;
    bool is_layer = into == CopyInto::kLayer;
    struct stat status = {};
    EXPECT_EQ(::lstat(path("to/copy/gone").c_str(), &status), is_layer ? 0 : -1);
    EXPECT_EQ(::getxattr(path("to/copy").c_str(), "trusted.overlay.opaque", value, 2),
              is_layer ? 1 : -1);
    EXPECT_EQ(::getxattr(path("to/copy").c_str(), "trusted.overlay.redirect", value, 2), -1);
  }
  if (has_user) {
    make("from", {{"other", "x"}});
    EXPECT_FALSE(is_same("from/d/file", "from/other"));
  }
}

TEST_F(FileTree, ADirectoryGetsTheAttributesOfAnother) {
  make(".", {{"a", "dir"}, {"b", "dir"}});
  ASSERT_EQ(::chmod(path("a").c_str(), 0750), 0);
  (void)::setxattr(path("b").c_str(), "user.surplus", "1", 1, 0);
  (void)::setxattr(path("b").c_str(), "trusted.overlay.opaque", "y", 1, 0);
  ASSERT_TRUE(set_attributes_of(open("a").get(), open("b").get()));
  EXPECT_TRUE(is_same("a", "b"));
  char value[2];
  EXPECT_LT(::getxattr(path("b").c_str(), "trusted.overlay.opaque", value, 2), 0);
}

}  // namespace
}  // namespace cfs::initramfs
