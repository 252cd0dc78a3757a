// SPDX-License-Identifier: Apache-2.0
#include "deployer/rollback.h"

#include "deployer/sysroot/running.h"

#include "deployer/test_support.h"

namespace cfs::deployer {
namespace {

class RollbackTest : public DeviceTest {};

TEST_F(RollbackTest, RollbackGivesUpAnUpdateThatHasNotRun) {
  offer(first_release());
  ASSERT_DONE(init());
  expect_exit(rollback(), 1, "no earlier good deployment");
  ASSERT_DONE(update());
  expect_exit(rollback(), 1, "no earlier good deployment");
  ASSERT_EQ(reboot_well(), "1");
  expect_exit(rollback(), 1, "no earlier good deployment");
  offer(second_release());
  ASSERT_DONE(update());
  ASSERT_DONE(rollback());
  EXPECT_THAT(boots_next(), StartsWith("cfs_1_"));
  EXPECT_EQ(reference("staged"), "");
  server_.forget();
  Result<int> held = update();
  ASSERT_TRUE(held) << held.error().describe();
  EXPECT_EQ(*held, 10);
  EXPECT_THAT(output_, HasSubstr("held: test 2 (epoch 2), it was rolled back"));
  ASSERT_DONE(update({"--retry"}));  // what was fetched is still there
  EXPECT_EQ(server_.count("/obj/"), 0u);
  EXPECT_THAT(boots_next(), StartsWith("cfs_2_"));
}

TEST_F(RollbackTest, WhatWasMarkedBadCanBeTakenBackBeforeTheReboot) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot_well(), "1");
  offer(second_release());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot(), "2");
  ASSERT_DONE(command({"mark-bad"}));
  EXPECT_THAT(boots_next(), StartsWith("cfs_1_"));
  ASSERT_DONE(command({"cancel"}));
  EXPECT_THAT(boots_next(), StartsWith("cfs_2_"));
  ASSERT_DONE(command({"mark-bad"}));
  ASSERT_DONE(update({"--retry"}));
  EXPECT_THAT(boots_next(), StartsWith("cfs_2_"));
}

TEST_F(RollbackTest, GoesAcrossAChangeOfStateOnlyWithForce) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot_well(), "1");
  FakeRelease second = second_release();
  second.state_version = 1;
  offer(second);
  ASSERT_DONE(update());
  ASSERT_DONE(rollback());  // it has not run: nothing was left behind
  ASSERT_DONE(update({"--retry"}));
  ASSERT_EQ(reboot_well(), "2");
  const std::string before = status();
  expect_exit(rollback(), 1, "1 cannot use what 2 leaves in /var and /etc");
  EXPECT_EQ(status(), before);
  ASSERT_DONE(command({"rollback", "--force"}));
  ASSERT_EQ(reboot(), "1");
  ASSERT_DONE(update({"--retry"}));  // and forward again
  EXPECT_THAT(boots_next(), StartsWith("cfs_2_"));
}

/// Two releases were installed and have run; the second runs.
class TwoReleasesTest : public RollbackTest {
 protected:
  void SetUp() override {
    one_ = offer(first_release());
    ASSERT_DONE(init());
    ASSERT_DONE(update());
    ASSERT_EQ(reboot_well(), "1");
    offer(second_release());
    entry1_ = boots_next();
    ASSERT_DONE(update());
    ASSERT_EQ(reboot_well(), "2");
    expect_up_to_date("2");
  }
  [[nodiscard]] std::string copy_of_uki() const {
    return "sysroot/cfs/releases/" + one_.image.digest.hex() + "/" + one_.files.at(0).sha256.hex() +
           ".efi";
  }
  release::ReleaseDescription one_;
  std::string entry1_;
};

TEST_F(TwoReleasesTest, AMissingOrDamagedUkiIsPutBack) {
  const std::string file = file_of(entry1_);
  const std::string whole = read(file);
  const std::function<void()> damages[] = {
      [&] { std::filesystem::remove(path(file)); },
      [&] { std::filesystem::resize_file(path(file), 1000); },
      [&] { write(file, ""); },
  };
  for (const auto& damage : damages) {
    damage();
    ASSERT_DONE(rollback());
    EXPECT_EQ(boots_next(), entry1_);
    EXPECT_TRUE(read(file) == whole);
    ASSERT_TRUE(loader().set_next(loader().list()->back().id));
  }
}

/// The power goes when the choice is written.
class CutAfterChoice : public boot::SystemdBoot {
 public:
  explicit CutAfterChoice(boot::SystemdBoot loader) : SystemdBoot(std::move(loader)) {}
  Result<> set_next(const std::string& id) override {
    CFS_TRY(SystemdBoot::set_next(id));
    return make_error(ErrorCode::kIo, "the power is gone");
  }
};

TEST_F(TwoReleasesTest, ARollbackThatWasCutOffIsNotUndone) {
  {
    CutAfterChoice cut(loader());
    Sysroot sysroot = Sysroot::open(environment_, path("sysroot"), Access::kWrite).value();
    Inventory inventory = note_what_booted(sysroot, environment_, cut).value();
    const Deployment target = rollback_target(inventory).value();
    ASSERT_FALSE(
        switch_to(sysroot, cut, environment_, inventory, target, ReasonKind::kRolledBack, {}));
  }
  EXPECT_EQ(boots_next(), entry1_);
  ASSERT_TRUE(update());
  EXPECT_THAT(output_, HasSubstr("held: test 2"));
  EXPECT_EQ(boots_next(), entry1_);
}

TEST_F(TwoReleasesTest, WhatWasLeftByHandIsHeldWhenSomebodyStays) {
  for (const bool has_entry : {true, false}) {
    const std::string entry2 = boots_next();
    set_selected_entry(entry1_);
    set_booted(one_.image.digest.hex());
    start_kernel();
    ASSERT_DONE(command({"note-boot"}));
    if (!has_entry) std::filesystem::remove(path(file_of(entry2)));
    ASSERT_DONE(command({"cancel"}));
    ASSERT_TRUE(update());
    EXPECT_THAT(output_, HasSubstr("held: test 2"));
    EXPECT_EQ(boots_next(), entry1_);
    ASSERT_DONE(update({"--retry"}));
    ASSERT_EQ(reboot_well(), "2");
  }
}

TEST_F(TwoReleasesTest, WhatCannotBeReadIsNotSaidToBeMissing) {
  for (const std::string role : {"previous", "recovery"}) {
    const std::string link = path("sysroot/cfs/refs/" + role);
    std::filesystem::remove(link);
    write("sysroot/cfs/refs/" + role, "rubbish");
    const std::string cannot = "cannot read 'refs/" + role + "'";
    expect_exit(rollback(), 1, cannot);
    expect_exit(command({"cancel"}), 7, cannot);
    expect_exit(command({"apply"}), 7, cannot);
    expect_exit(command({"recovery", "clear"}), 7, cannot);
    expect_exit(run_command({"unpin", "--sysroot", path("sysroot"), "1"}), 1, cannot);
    std::filesystem::remove(link);
  }
  expect_exit(command({"cancel"}), 10, "no update is staged");
}

TEST_F(TwoReleasesTest, ARollbackThatLeavesNoWayBackIsRefused) {
  const std::string object =
      path("sysroot/cfs/objects/") +
      verity::digest_of(as_bytes(second_release().files["/usr/bin/new"])).object_path();
  std::filesystem::remove(object);
  expect_exit(rollback(), 1, "nothing whole is left to fall back to from 1; 2: ");
  EXPECT_THAT(boots_next(), StartsWith("cfs_2_"));
  ASSERT_DONE(command({"rollback", "--no-way-back"}));
  EXPECT_THAT(boots_next(), StartsWith("cfs_1_"));
}

TEST_F(TwoReleasesTest, ARollbackToWhatIsNotWholeChangesNothing) {
  const std::string object =
      path("sysroot/cfs/objects/") +
      verity::digest_of(as_bytes(first_release().files["/usr/bin/program3"])).object_path();
  std::filesystem::rename(object, path("away"));
  expect_exit(rollback(), 1, "while checking the objects of image");
  std::filesystem::rename(path("away"), object);
  std::filesystem::resize_file(path(file_of(entry1_)), 1000);
  write(copy_of_uki(), "damaged");
  expect_exit(rollback(), 7, "is damaged");
  std::filesystem::remove(path(copy_of_uki()));
  expect_exit(rollback(), 1, "while checking the UKI of 1");
  EXPECT_THAT(boots_next(), StartsWith("cfs_2_"));
  EXPECT_EQ(reference("staged"), "");
}

}  // namespace
}  // namespace cfs::deployer
