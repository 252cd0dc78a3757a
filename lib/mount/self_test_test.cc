// SPDX-License-Identifier: Apache-2.0
#include "lib/mount/self_test.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "lib/base/io.h"

namespace cfs::mount {
namespace {

using ::testing::HasSubstr;

TEST(MountInfoTest, ParsesALine) {
  auto info = parse_mountinfo_line(
      "36 35 0:32 / /mnt\\040a rw,noatime master:1 shared:2 - overlay cfs:12\\134 "
      "ro,lowerdir=/a,metacopy=on,verity=require");
  ASSERT_TRUE(info);
  EXPECT_EQ(info->id, 36U);
  EXPECT_EQ(info->target, "/mnt a");
  EXPECT_EQ(info->type, "overlay");
  EXPECT_EQ(info->source, "cfs:12\\");
  EXPECT_TRUE(info->has_option("verity=require"));
  EXPECT_TRUE(info->has_option("ro"));
  EXPECT_FALSE(info->has_option("verity=requir"));
  EXPECT_FALSE(info->has_option("metacopy"));
  EXPECT_TRUE(parse_mountinfo_line("1 1 0:1 / / rw - proc proc rw"));
}

TEST(MountInfoTest, RefusesWhatIsNone) {
  for (const char* line : {"", "a", "1 2 3:4 / / rw", "1 2 3:4 / / rw -", "1 2 3:4 / / rw - a",
                           "x 1 0:1 / / rw - proc proc rw"}) {
    EXPECT_FALSE(parse_mountinfo_line(line)) << line;
  }
}

TEST(MountInfoTest, FindsTheMountOfADescriptor) {
  UniqueFd proc = *open_at(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY);
  Result<MountInfo> info = mount_of(proc.get());
  ASSERT_TRUE(info);
  EXPECT_EQ(info->type, "proc");
  EXPECT_EQ(info->target, "/proc");
}

TEST(SelfTest, AnOrdinaryFileSystemIsNotAVerifiedRoot) {
  UniqueFd proc = *open_at(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY);
  Result<> result = check_verity_required(proc.get());
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("not overlay"));
}

class RootTree : public ::testing::Test {
 protected:
  void SetUp() override { root_ = *open_at(AT_FDCWD, directory_.path(), O_RDONLY | O_DIRECTORY); }
  void write(const std::string& path, const std::string& content) {
    ASSERT_TRUE(write_file_atomically(root_.get(), path, as_bytes(content)));
  }
  TemporaryDirectory directory_ = *TemporaryDirectory::create();
  UniqueFd root_;
};

TEST_F(RootTree, SymlinksStayInside) {
  write("file", "x");
  ASSERT_EQ(::symlinkat("/file", root_.get(), "absolute"), 0);
  ASSERT_EQ(::symlinkat("../../file", root_.get(), "climbing"), 0);
  ASSERT_EQ(::symlinkat("/etc/passwd", root_.get(), "outside"), 0);
  EXPECT_TRUE(open_in_root(root_.get(), "/absolute", O_RDONLY));
  EXPECT_TRUE(open_in_root(root_.get(), "climbing", O_RDONLY));
  EXPECT_FALSE(open_in_root(root_.get(), "/outside", O_RDONLY));
}

TEST_F(RootTree, FollowsInterpreters) {
  write("script", "#! /shell -x\necho\n");
  EXPECT_FALSE(check_program_readable(root_.get(), "/script")) << "no shell";
  write("shell", "plain");
  EXPECT_TRUE(check_program_readable(root_.get(), "/script"));
  write("loop", "#!/loop\n");
  EXPECT_FALSE(check_program_readable(root_.get(), "/loop"));
  for (const char* text : {"", "#!", "#!\n", "#! \t\n", "\177ELF", "text"}) {
    write("odd", text);
    EXPECT_TRUE(check_program_readable(root_.get(), "/odd")) << text;
  }
  EXPECT_FALSE(check_program_readable(root_.get(), "/missing"));
}

TEST(SelfTest, ReadsTheInterpreterOfAnElfFile) {
  UniqueFd self = *open_at(AT_FDCWD, "/proc/self/exe", O_RDONLY);
  Result<std::optional<std::string>> interpreter = interpreter_of(self.get());
  ASSERT_TRUE(interpreter);
  ASSERT_TRUE(*interpreter);
  EXPECT_THAT(**interpreter, HasSubstr("ld"));
}

TEST_F(RootTree, OpensEveryFile) {
  ASSERT_TRUE(make_directories(root_.get(), "a/b"));
  write("a/b/one", "1");
  write("two", "2");
  ASSERT_EQ(::symlinkat("/nowhere", root_.get(), "a/link"), 0);
  EXPECT_EQ(*check_every_file_opens(root_.get()), 2U);
}

}  // namespace
}  // namespace cfs::mount
