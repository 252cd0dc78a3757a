// SPDX-License-Identifier: Apache-2.0
#include "deployer/apply_var.h"

#include "deployer/test_support.h"

namespace cfs::deployer {
namespace {

class ApplyVarTest : public DeviceTest {
 protected:
  ApplyVarTest() {
    environment_.root = path("root");
    EXPECT_TRUE(make_directories(AT_FDCWD, path("root/usr/share/factory/var/lib")));
    EXPECT_TRUE(make_directories(AT_FDCWD, path("root/usr/lib/cfs")));
  }
  Result<int> apply_var() { return run_command({"apply-var", "--sysroot", path("sysroot")}); }
};

TEST_F(ApplyVarTest, TheRunningReleaseBringsItsFilesOnce) {
  write("root/usr/share/factory/var/lib/file", "1");
  ASSERT_DONE(init());
  set_booted(std::string(64, '1'));
  ASSERT_DONE(apply_var());
  EXPECT_EQ(read("sysroot/cfs/state/var/lib/file"), "1");
  EXPECT_THAT(output_, HasSubstr("/var: 2 new, 0 replaced, 0 removed\n"));
  std::filesystem::remove_all(path("sysroot/cfs/state/var/lib"));
  ASSERT_DONE(apply_var());
  EXPECT_THAT(output_, HasSubstr("/var: 0 new"));

  write("root/usr/share/factory/var/lib/file", "2");
  write("root/usr/share/factory/var/lib/other", "2");
  set_booted(std::string(64, '2'));
  ASSERT_DONE(apply_var());
  EXPECT_EQ(read("sysroot/cfs/state/var/lib/other"), "2");
  EXPECT_THAT(output_, HasSubstr("1 stay as this device has them: /var/lib/file\n"));
}

TEST_F(ApplyVarTest, ASystemThatWasNotBootedByCfsHasNone) {
  ASSERT_DONE(init());
  expect_exit(apply_var(), 1, "not booted from an image of cfs");
}

TEST_F(ApplyVarTest, ADamagedRecordIsToldAndDoesNoHarm) {
  write("root/usr/share/factory/var/lib/file", "1");
  ASSERT_DONE(init());
  set_booted(std::string(64, '1'));
  ASSERT_DONE(apply_var());
  write("sysroot/cfs/state/var-delivered", "x");
  write("root/usr/share/factory/var/lib/file", "2");
  write("root/usr/share/factory/var/lib/same", "2");
  write("sysroot/cfs/state/var/lib/same", "2");
  ASSERT_DONE(apply_var());
  EXPECT_THAT(output_, HasSubstr("cannot be used: var-delivered"));
  EXPECT_EQ(read("sysroot/cfs/state/var/lib/file"), "1");
  ASSERT_DONE(apply_var());
  EXPECT_THAT(output_, Not(HasSubstr("cannot be used")));
}

TEST_F(ApplyVarTest, ADamagedListOfPoliciesStopsEverything) {
  write("root/usr/share/factory/var/lib/file", "1");
  write("root/usr/lib/cfs/var.conf", "x");
  ASSERT_DONE(init());
  set_booted(std::string(64, '1'));
  expect_exit(apply_var(), 7, "var.conf");
  EXPECT_THAT(names_in("sysroot/cfs/state/var"), IsEmpty());
}

}  // namespace
}  // namespace cfs::deployer
