// SPDX-License-Identifier: Apache-2.0
#include "deployer/sysroot/var.h"

#include <sys/stat.h>

#include "deployer/test_support.h"

namespace cfs::deployer {
namespace {

class VarTest : public DeviceTest {};

TEST_F(VarTest, VarIsFilledOnce) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  const std::string var = "sysroot/cfs/state/var/lib/";
  EXPECT_EQ(read(var + "data"), random_text(5000, 100));
  EXPECT_EQ(read(var + "small"), "inline");
  EXPECT_EQ(std::filesystem::read_symlink(path(var + "link")), "target");
  struct stat first = {};
  struct stat second = {};
  struct stat directory = {};
  ASSERT_EQ(::stat(path(var + "first").c_str(), &first), 0);
  ASSERT_EQ(::stat(path(var + "second").c_str(), &second), 0);
  ASSERT_EQ(::stat(path(var).c_str(), &directory), 0);
  EXPECT_EQ(first.st_ino, second.st_ino);
  EXPECT_EQ(first.st_mode & 07777, 0600u);
  EXPECT_EQ(first.st_mtim.tv_sec, 1'700'000'000);
  EXPECT_EQ(directory.st_mode & 07777, 0750u);
  EXPECT_EQ(directory.st_mtim.tv_sec, 1'700'000'000);

  write(var + "small", "changed by the device");
  FakeRelease next = second_release();
  next.files["/var/lib/small"] = "changed by the release";
  offer(next);
  ASSERT_DONE(update());
  EXPECT_EQ(read(var + "small"), "changed by the device");
}

}  // namespace
}  // namespace cfs::deployer
