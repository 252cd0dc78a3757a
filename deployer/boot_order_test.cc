// SPDX-License-Identifier: Apache-2.0
#include "deployer/boot_order.h"

#include <sys/mount.h>

#include "deployer/test_support.h"
#include "lib/boot/test_programs.h"

namespace cfs::deployer {
namespace {

/// Release 1 is good.
class BootOrderTest : public DeviceTest {
 protected:
  void SetUp() override {
    offer(first_release());
    ASSERT_DONE(init());
    ASSERT_DONE(update());
    ASSERT_EQ(reboot_well(), "1");
    good_ = boots_next();
  }
  /// A boot entry that somebody else has made.
  void write_entry(const std::string& id, const std::string& cmdline, const std::string& os) {
    const std::vector<std::byte> uki = boot::make_test_uki(cmdline, "ID=" + os + "\n");
    write(file_of(id), std::string(reinterpret_cast<const char*>(uki.data()), uki.size()));
  }
  /// Nothing that has ever been good is good any more.
  void mark_good_one_bad() {
    Sysroot sysroot = Sysroot::open(environment_, path("sysroot"), Access::kWrite).value();
    Deployment bad = read_inventory(sysroot).value().references.booted.value();
    bad.state = DeploymentState::kBad;
    bad.held = Reason{.kind = ReasonKind::kMarkedBad, .what = {}, .detail = {}, .exit_status = {}};
    ASSERT_TRUE(save_deployment(sysroot, bad));
  }
  void start_with_1_to_fall_back_to(const FakeRelease& release) {
    offer(release);
    ASSERT_DONE(update());
    EXPECT_THAT(status(), HasSubstr("if that fails, 1 boots."));
    ASSERT_EQ(reboot(), release.version);
  }
  Result<std::string> next_update() {
    offer(second_release());
    CFS_TRY(update());
    return boots_next();
  }

  std::string good_;
};

TEST_F(BootOrderTest, EntriesOfWhichNothingIsLeftGo) {
  const std::string digest(64, 'a');
  const std::string orphan = "cfs_7_" + digest.substr(0, 12) + ".0";
  const std::string others[] = {"cfs_7_" + std::string(12, 'b') + ".0", "rescue"};
  for (const bool by_gc : {true, false}) {
    for (const std::string& id : {orphan, others[0], others[1]}) {
      write_entry(id, "composefs.digest=" + digest, "debian");
    }
    offer(second_release());
    ASSERT_DONE(by_gc ? command({"gc"}) : update());
    EXPECT_THAT(names_in("esp/EFI/Linux"), Not(testing::Contains(StartsWith(orphan)))) << by_gc;
    EXPECT_THAT(names_in("esp/EFI/Linux"), testing::Contains(StartsWith(others[0]))) << by_gc;
    EXPECT_THAT(names_in("esp/EFI/Linux"), testing::Contains(StartsWith(others[1]))) << by_gc;
  }
}

// systemd-boot sorts entries, those of other systems among them.
TEST_F(BootOrderTest, AnotherSystemDoesNotTakeThePlaceOfTheWayBack) {
  write_entry("other-os", "root=/dev/sdb1", "aaa");
  offer(second_release());
  expect_exit(update(), 1,
              "the boot loader would start 'other-os', which is not of cfs, and not 1");
  EXPECT_EQ(boots_next(), good_);
  EXPECT_THAT(status(), Not(HasSubstr("staged")));
  ASSERT_DONE(update({"--no-way-back"}));
  EXPECT_THAT(status(), HasSubstr("if that fails, 'other-os' boots, which is not of cfs."));
  std::filesystem::rename(path(file_of("other-os")), path(file_of("other-os+0")));
  EXPECT_THAT(status(), HasSubstr("if that fails, 1 boots."));
}

TEST_F(BootOrderTest, AWayBackThatWaitsDoesSoNoMoreWhenItIsNeeded) {
  offer(second_release());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot(), "2");
  std::filesystem::rename(path(file_of(good_)), path(file_of(good_ + "+0")));
  write_entry("other-os", "root=/dev/sdb1", "zzz");
  offer(third_release());
  ASSERT_DONE(update());
  EXPECT_THAT(status(), HasSubstr("if that fails, 1 boots."));
}

// A rollback was cut off before the choice; then somebody started the other one.
TEST_F(BootOrderTest, WhatWasTurnedAwayFromIsNotChosenAnyMore) {
  offer(second_release());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot(), "2");
  ASSERT_DONE(command({"note-boot"}));
  {
    Sysroot sysroot = Sysroot::open(environment_, path("sysroot"), Access::kWrite).value();
    Deployment left = read_inventory(sysroot).value().references.booted.value();
    left.state = DeploymentState::kFetched;
    left.held =
        Reason{.kind = ReasonKind::kRolledBack, .what = {}, .detail = {}, .exit_status = {}};
    ASSERT_TRUE(save_deployment(sysroot, left));
  }
  set_variable("LoaderEntryOneShot", good_ + ".efi");
  ASSERT_EQ(reboot(), "1");
  set_variable("LoaderEntryOneShot", "");
  ASSERT_THAT(boots_next(), StartsWith("cfs_2_"));
  ASSERT_DONE(command({"note-boot"}));
  EXPECT_EQ(boots_next(), good_);
}

// Its entry was lost on FAT.
TEST_F(BootOrderTest, ARecoveryThatIsTheOnlyWayBackDoesNotWait) {
  offer(second_release());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot(), "2");
  std::filesystem::remove(path(file_of(good_)));
  ASSERT_DONE(command({"recovery", "set", good_.substr(good_.rfind('_') + 1)}));
  for (int tries = 0; tries < 2; ++tries) EXPECT_EQ(reboot(), "2");
  EXPECT_EQ(reboot(), "1");
}

// Recorded as good, it would not start any more after a power cut and two boots that end early.
TEST_F(BootOrderTest, WithNothingElseGoodTheTrialEndsBeforeTheRecordSaysSo) {
  offer(second_release());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot(), "2");
  ASSERT_TRUE(make_directories(AT_FDCWD, path("run/cfs")));
  write("run/cfs/health.json", "{\"passed\":true}");
  auto bless_without_esp = [&] {
    return in_own_mounts([&] {
      const std::string esp = path("esp");
      if (::mount(esp.c_str(), esp.c_str(), nullptr, MS_BIND, nullptr) != 0 ||
          ::mount(nullptr, esp.c_str(), nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr) != 0) {
        return 101;
      }
      Result<int> result = command({"bless"});
      return result ? 102 : exit_status(result.error().code);
    });
  };
  std::filesystem::rename(path(file_of(good_)), path("aside"));
  EXPECT_EQ(bless_without_esp(), 1);
  EXPECT_THAT(status(), StartsWith("test 2 is running, on trial"));
  std::filesystem::rename(path("aside"), path(file_of(good_)));
  EXPECT_EQ(bless_without_esp(), 1);
  EXPECT_THAT(status(), StartsWith("test 2 is running and boots next"));
}

TEST_F(BootOrderTest, AnotherSystemBehindTheWayBackIsNoHindrance) {
  write_entry("other-os", "root=/dev/sdb1", "zzz");
  EXPECT_THAT(next_update().value(), StartsWith("cfs_2_"));
  EXPECT_THAT(status(), HasSubstr("if that fails, 1 boots."));
}

// An entry of loader/entries, which only the boot loader sees.
TEST_F(BootOrderTest, AWishThatNoEntryMeetsIsSaidAndWithdrawn) {
  for (const char* variable : {"LoaderEntryDefault", "LoaderEntryOneShot"}) {
    set_variable(variable, "other.conf");
    EXPECT_THAT(status(), HasSubstr("test 1 is running and boots next, unless the boot loader has "
                                    "'other.conf', which the firmware's variables ask for"));
    ASSERT_DONE(update());
    EXPECT_THAT(status(), HasSubstr("test 1 is running and boots next.")) << variable;
    expect_up_to_date("1");
  }
}

TEST_F(BootOrderTest, AWishThatANewRecoveryWouldMeetIsWithdrawn) {
  const std::string one = good_.substr(good_.rfind('_') + 1);
  offer(second_release());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot_well(), "2");
  std::filesystem::remove(path(file_of(good_)));
  set_variable("LoaderEntryDefault", good_ + "*");
  ASSERT_DONE(command({"recovery", "set", one}));
  EXPECT_THAT(boots_next(), StartsWith("cfs_2_"));
}

// The disk is made anew, the firmware's variables are those of before.
TEST_F(BootOrderTest, AfterTheDiskWasMadeAnewStaleVariablesDoNoHarm) {
  uint64_t epoch = 1;
  auto next_release = [&] {
    FakeRelease release = second_release();
    release.epoch = ++epoch;
    release.version = std::to_string(epoch);
    release.files["/usr/bin/new"] = random_text(300, epoch);
    offer(release);
    return release.version;
  };
  for (const bool keeps_esp : {false, true}) {
    for (const std::string stale :
         {"LoaderEntryDefault", "LoaderEntryOneShot", "LoaderEntrySelected", ""}) {
      SCOPED_TRACE((keeps_esp ? "the ESP stays, " : "") + stale);
      const std::string before = boots_next();
      std::filesystem::remove_all(path("sysroot"));
      if (!keeps_esp) std::filesystem::remove_all(path("esp"));
      ASSERT_TRUE(make_directories(AT_FDCWD, path("sysroot")));
      ASSERT_TRUE(make_directories(AT_FDCWD, path("esp")));
      set_booted("");  // from another medium
      for (const char* variable :
           {"LoaderEntryDefault", "LoaderEntryOneShot", "LoaderEntrySelected"}) {
        set_variable(variable, variable == stale ? before + ".efi" : "");
      }
      ASSERT_DONE(init());
      const std::string first = next_release();
      ASSERT_DONE(update());
      EXPECT_EQ(reboot_well(), first);
      EXPECT_THAT(status(), StartsWith("test " + first + " is running and boots next.\n"));
      // The next one never comes up.
      next_release();
      ASSERT_DONE(update());
      for (int tries = 0; tries < 3; ++tries) EXPECT_EQ(reboot(), std::to_string(epoch));
      EXPECT_EQ(reboot(), first);
      ASSERT_DONE(command({"note-boot"}));
      EXPECT_THAT(status(), StartsWith("test " + first + " is running and boots next. "));
      EXPECT_EQ(names_in("esp/EFI/Linux").size(), 1U);
    }
  }
}

// What the boot loader says of the entry that it has started may be missing, or of another time.
TEST_F(BootOrderTest, WithoutTheBootLoadersWordTheImageTellsWhatRuns) {
  offer(second_release());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot(), "2");
  write("run/cfs/health.json", R"({"passed":true})");
  set_selected_entry(good_);
  expect_exit(command({"bless"}), 1, "which proves nothing");
  set_variable("LoaderEntrySelected", "");
  ASSERT_DONE(command({"bless"}));
  EXPECT_THAT(status(), StartsWith("test 2 is running and boots next.\n"));
}

// Nothing else has ever booted well.
TEST_F(BootOrderTest, WhatWasMarkedBadIsTheLastWayBack) {
  mark_good_one_bad();
  for (const FakeRelease& release : {second_release(), third_release()}) {
    start_with_1_to_fall_back_to(release);
    ASSERT_DONE(command({"note-boot"}));
    ASSERT_DONE(command({"gc"}));
    for (int tries = 0; tries < 2; ++tries) ASSERT_EQ(reboot(), release.version);
    ASSERT_EQ(reboot(), "1");
    ASSERT_DONE(command({"note-boot"}));
    EXPECT_EQ(boots_next(), good_);
    EXPECT_THAT(status(), HasSubstr("marked bad"));
  }
  expect_exit(command({"mark-bad"}), 1, "nothing whole is left to fall back to");
}

TEST_F(BootOrderTest, WhatWasMarkedBadStaysTheWayBackWhenATrialIsLeft) {
  mark_good_one_bad();
  for (const FakeRelease& release : {second_release(), third_release()}) {
    start_with_1_to_fall_back_to(release);
  }
  for (int tries = 0; tries < 2; ++tries) ASSERT_EQ(reboot(), "3");
  EXPECT_EQ(reboot(), "1");
}

TEST_F(BootOrderTest, WhatWasMarkedBadStaysBadUnlessItIsAskedFor) {
  mark_good_one_bad();
  for (const char* verb : {"cancel", "rollback"}) {
    offer(verb == std::string("cancel") ? second_release() : third_release());
    ASSERT_DONE(update());
    ASSERT_DONE(command({verb}));
    EXPECT_EQ(boots_next(), good_);
    EXPECT_THAT(status(), HasSubstr("marked bad"));
    ASSERT_EQ(reboot(), "1");
  }
  ASSERT_DONE(command({"boot", good_.substr(good_.rfind('_') + 1)}));
  EXPECT_THAT(status(), StartsWith("test 1 is running, on trial"));
}

// The recovery waits behind all others, until it is what is left: cfs-mount-root has stopped both.
TEST_F(BootOrderTest, TheRecoveryThatRunsDoesNotWaitBehindOtherSystems) {
  auto id = [](const std::string& entry) { return entry.substr(entry.rfind('_') + 1); };
  ASSERT_DONE(command({"recovery", "set", id(good_)}));
  std::vector<std::string> tried;
  for (const FakeRelease& release : {second_release(), third_release()}) {
    offer(release);
    ASSERT_DONE(update());
    reboot_well();
    tried.insert(tried.begin(), id(boots_next()));
  }
  write_entry("other-os", "root=/dev/sdb1", "zzz");
  ASSERT_TRUE(make_directories(AT_FDCWD, path("sysroot/cfs/state/boot")));
  write("sysroot/cfs/state/boot/failure.json",
        R"({"code":"image-digest","digest":")" + offered_.image.digest.hex() +
            R"(","schema":1,"text":"","tried":[")" + tried[0] + "\",\"" + tried[1] + "\",\"" +
            id(good_) + "\"]}");
  set_variable("LoaderEntryOneShot", good_ + "+0.efi");
  ASSERT_EQ(reboot(), "1");
  ASSERT_DONE(command({"note-boot"}));
  EXPECT_EQ(boots_next(), good_);
  EXPECT_EQ(reboot(), "1");
}

}  // namespace
}  // namespace cfs::deployer
