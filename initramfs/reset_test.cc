// SPDX-License-Identifier: Apache-2.0
#include "initramfs/reset.h"

#include "initramfs/etc_fixture.h"
#include "lib/sysroot/reset_request.h"

namespace cfs::initramfs {
namespace {

class Reset : public EtcTest {
 protected:
  Reset() {
    make("root", {{"etc/conf", "image"}, {"var/lib/data", "image"}});
    make("disk/cfs/state", {{"var/lib/data", "device"},
                            {"var/home", "device"},
                            {"etc/last", "-> kept"},
                            {"etc/kept/upper/machine-id", "id"},
                            {"etc/kept/upper/conf", "device"},
                            {"etc/other", "dir"}});
  }
  void ask(const std::string& text) { make("disk/cfs/state", {{"reset", text}}); }
  Result<> reset() {
    return reset_state(open("disk").get(), open("root").get(),
                       kernel_cmdline::default_root_policy());
  }
  [[nodiscard]] bool is_asked() const {
    return std::filesystem::exists(path("disk/cfs/state/reset"));
  }
};

TEST_F(Reset, NothingIsAsked) {
  const Files before = show("disk");
  ASSERT_TRUE(reset());
  EXPECT_EQ(show("disk"), before);
}

TEST_F(Reset, Etc) {
  ask(sysroot::serialise_reset_request({.etc = true}));
  ASSERT_TRUE(reset());
  EXPECT_FALSE(is_asked());
  EXPECT_EQ(show("disk/cfs/state/etc"),
            (Files{{"last", "-> kept"}, {"kept/upper/machine-id", "id"}}));
  EXPECT_EQ(show("disk/cfs/state/var").at("home"), "device");
}

TEST_F(Reset, EtcWithoutLastKeepsTheIdentity) {
  std::filesystem::remove(path("disk/cfs/state/etc/last"));
  ask(sysroot::serialise_reset_request({.etc = true}));
  ASSERT_TRUE(reset());
  EXPECT_EQ(show("disk/cfs/state/etc"),
            (Files{{"last", "-> kept"}, {"kept/upper/machine-id", "id"}}));
}

TEST_F(Reset, Var) {
  const Files etc = show("disk/cfs/state/etc");
  make("disk/cfs/state", {{"var-delivered", "lib/data"}});
  ASSERT_EQ(::chmod(path("disk/cfs/state/var").c_str(), 0700), 0);
  ask(sysroot::serialise_reset_request({.var = true}));
  ASSERT_TRUE(reset());
  EXPECT_FALSE(is_asked());
  EXPECT_EQ(show("disk/cfs/state/var"), Files());
  struct stat status = {};
  ASSERT_EQ(::stat(path("disk/cfs/state/var").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0755U);
  EXPECT_EQ(show("disk/cfs/state/etc"), etc);
  EXPECT_EQ(show("disk/cfs/tmp"), Files());
  EXPECT_FALSE(std::filesystem::exists(path("disk/cfs/state/var-delivered")));
}

// A record without its /var would say of an empty one that it is filled.
TEST_F(Reset, VarStaysWhileItsRecordDoes) {
  make("disk/cfs/state", {{"var-delivered", "dir"}});
  ask(sysroot::serialise_reset_request({.var = true}));
  EXPECT_FALSE(reset());
  EXPECT_EQ(show("disk/cfs/state/var").at("home"), "device");
  EXPECT_TRUE(is_asked());
}

TEST_F(Reset, AllAndOnceMoreAfterACut) {
  const std::string text =
      sysroot::serialise_reset_request({.etc = true, .identity = true, .var = true});
  for (int round = 0; round < 2; ++round) {
    ask(text);
    ASSERT_TRUE(reset());
    EXPECT_EQ(show("disk/cfs/state/etc"), Files());
    EXPECT_EQ(show("disk/cfs/state/var"), Files());
  }
}

TEST_F(Reset, ALostVarIsMadeAnew) {
  std::filesystem::remove_all(path("disk/cfs/state/var"));
  ask(sysroot::serialise_reset_request({.var = true}));
  ASSERT_TRUE(reset());
  EXPECT_EQ(show("disk/cfs/state/var"), Files());
}

TEST_F(Reset, WhatIsNotUnderstoodChangesNothing) {
  ask("everything\n");
  const Files before = show("disk");
  EXPECT_EQ(reset().error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(show("disk"), before);
  EXPECT_TRUE(is_asked());
}

}  // namespace
}  // namespace cfs::initramfs
