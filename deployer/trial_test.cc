// SPDX-License-Identifier: Apache-2.0
#include "deployer/trial.h"

#include <thread>

#include "deployer/sysroot/history.h"
#include "deployer/sysroot/running.h"
#include "deployer/test_support.h"
#include "lib/base/file_lock.h"
#include "lib/json/reader.h"

namespace cfs::deployer {
namespace {

/// Release 1 is good and release 2 runs on trial.
class TrialTest : public DeviceTest {
 protected:
  void SetUp() override {
    // In place of systemd: tells what it was asked for.
    write("systemctl", "#!/bin/sh\necho \"$@\" >>" + path("asked") + "\n");
    ASSERT_EQ(::chmod(path("systemctl").c_str(), 0755), 0);
    ASSERT_TRUE(make_directories(AT_FDCWD, path("local")));
    environment_.systemctl = path("systemctl");
    one_ = offer(first_release());
    ASSERT_DONE(init());
    ASSERT_DONE(update());
    ASSERT_EQ(reboot_well(), "1");
    offer(second_release());
    ASSERT_DONE(update());
    ASSERT_EQ(reboot(), "2");
  }
  void add_check(const std::string& script) {
    ASSERT_TRUE(make_directories(AT_FDCWD, path("vendor/health.d/required")));
    write("vendor/health.d/required/web", "#!/bin/sh\n" + script + "\n");
    ASSERT_EQ(::chmod(path("vendor/health.d/required/web").c_str(), 0755), 0);
  }
  /// As cfs-mount-root does, of the image that was offered last.
  void leave_failure(const std::vector<std::string>& tried) {
    std::string ids;
    for (const std::string& id : tried) ids += (ids.empty() ? "\"" : ",\"") + id + "\"";
    ASSERT_TRUE(make_directories(AT_FDCWD, path("sysroot/cfs/state/boot")));
    write("sysroot/cfs/state/boot/failure.json",
          R"({"code":"image-digest","digest":")" + offered_.image.digest.hex() +
              R"(","schema":1,"text":"not that digest","tried":[)" + ids + "]}");
  }
  /// cfs-mount-root has stopped what boots next twice, and asks for the other one. Returns its
  /// entry.
  std::string stop_and_ask_for_other() {
    const std::string good = boots_next();
    std::string other;
    const std::vector<boot::BootEntry> entries = loader().list().value();
    for (const boot::BootEntry& entry : entries) {
      if (entry.id != good) other = entry.id;
    }
    leave_failure({good.substr(good.rfind('_') + 1), other.substr(other.rfind('_') + 1)});
    set_variable("LoaderEntryOneShot", other + ".efi");
    return other;
  }
  Result<int> health() { return command({"health", "--on-trial"}); }
  [[nodiscard]] bool is_restarting() const {
    return read("asked").find("reboot") != std::string::npos;
  }

  release::ReleaseDescription one_;
};

TEST_F(TrialTest, AFailingCheckUsesUpTheTriesAndTheReasonIsKept) {
  add_check("echo no page; exit 3");
  for (unsigned boot = 1; boot <= 3; ++boot) {
    std::filesystem::remove(path("asked"));
    Result<int> checked = health();
    ASSERT_TRUE(checked) << checked.error().describe();
    EXPECT_EQ(*checked, 1);
    EXPECT_TRUE(is_restarting()) << output_;
    expect_exit(command({"bless"}), 1, "the health checks have not passed");
    EXPECT_EQ(reboot(), boot < 3 ? "2" : "1");
  }
  ASSERT_DONE(command({"note-boot"}));
  EXPECT_THAT(read("run/motd.d/cfs"),
              "cfs: 2 failed: the check 'web' failed with status 3: no page\n");
  EXPECT_THAT(status(), AllOf(StartsWith("test 1 is running and boots next. 2 failed: the check "
                                         "'web' failed with status 3: no page.\n"),
                              HasSubstr("  bad  held: the check 'web' failed")));
  ASSERT_DONE(run_command({"history", "--sysroot", path("sysroot")}));
  EXPECT_THAT(output_, HasSubstr("failed: the check 'web' failed with status 3: no page"));

  // It is not taken again, until it is asked for or there is a newer one.
  Result<int> held = update();
  ASSERT_TRUE(held) << held.error().describe();
  EXPECT_EQ(*held, 10);
  EXPECT_THAT(output_, HasSubstr("held: test 2 (epoch 2), the check 'web' failed"));
  offer(third_release());
  ASSERT_DONE(update());
  EXPECT_EQ(reboot_well(), "3");
  EXPECT_THAT(status(), StartsWith("test 3 is running and boots next.\n"));
}

TEST_F(TrialTest, WhatTheBootLoaderCannotCountIsCounted) {
  ASSERT_DONE(command({"note-boot"}));
  firmware_renames_ = false;  // from the second boot on
  add_check("exit 3");
  for (const char* boots : {"2", "2", "1"}) {
    EXPECT_EQ(reboot(), boots);
    ASSERT_DONE(command({"note-boot"}));
    ASSERT_DONE(command({"note-boot"}));
    ASSERT_TRUE(health());
  }
  EXPECT_THAT(status(), StartsWith("test 1 is running and boots next. 2 failed: the check 'web'"));
}

// A boot is counted once, though its entry in the history is lost or cannot be written.
TEST_F(TrialTest, ALostHistoryUsesUpNoTries) {
  ASSERT_DONE(command({"note-boot"}));
  firmware_renames_ = false;
  ASSERT_EQ(reboot(), "2");
  auto tries_left = [&] {
    const std::vector<boot::BootEntry> entries = loader().list().value();
    for (const boot::BootEntry& entry : entries) {
      if (entry.id.starts_with("cfs_2_")) return entry.tries.value().left;
    }
    return 99U;
  };
  ASSERT_EQ(tries_left(), 2U);
  const std::string history = path("sysroot/cfs/history.json");
  std::filesystem::remove(history);
  ASSERT_TRUE(make_directories(AT_FDCWD, history + "/full"));
  for (int command_number = 0; command_number < 3; ++command_number) {
    EXPECT_FALSE(command({"note-boot"}));
    EXPECT_EQ(tries_left(), 2U);
  }
  std::filesystem::remove_all(history);
  for (int command_number = 0; command_number < 3; ++command_number) {
    write("sysroot/cfs/history.json", std::string(100, '\0'));
    ASSERT_DONE(command({"note-boot"}));
    EXPECT_EQ(tries_left(), 1U);
  }
  EXPECT_EQ(reboot(), "2");
  ASSERT_DONE(command({"note-boot"}));
  EXPECT_EQ(tries_left(), 0U);
}

TEST_F(TrialTest, WhatFailedIsHeldThoughItsRecordIsLost) {
  add_check("echo no page; exit 3");
  for (const char* next : {"2", "2", "1"}) {
    ASSERT_TRUE(health());
    ASSERT_EQ(reboot(), next);
  }
  ASSERT_DONE(command({"note-boot"}));
  const std::string prefix = offered_.image.digest.hex().substr(0, 12);
  const std::string record = "sysroot/cfs/deployments/" + prefix + ".0/deployment.json";
  const std::string history = "sysroot/cfs/history.json";
  auto expect_held = [&](const std::string& why) {
    Result<int> held = update();
    ASSERT_TRUE(held) << held.error().describe();
    EXPECT_EQ(*held, 10);
    EXPECT_THAT(output_, HasSubstr("held: test 2 (epoch 2), " + why));
    EXPECT_THAT(boots_next(), StartsWith("cfs_1_"));
  };
  write(record, std::string(300, '\0'));
  expect_held("the check 'web' failed with status 3: no page");
  const std::string known = read(history);
  write(history, std::string(100, '\0'));
  expect_held("it was not proven healthy: its record is damaged");
  write(history, known);
  // Nothing at all is left of it but what the history says.
  std::filesystem::remove_all(path("sysroot/cfs/deployments/" + prefix + ".0"));
  std::filesystem::remove_all(path("sysroot/cfs/releases/" + offered_.image.digest.hex()));
  expect_held("the check 'web' failed with status 3: no page");
  ASSERT_DONE(command({"check", "--retry"}));
  ASSERT_DONE(update({"--retry"}));
  EXPECT_THAT(boots_next(), StartsWith("cfs_2_"));
  // As long as there is a record, it is what counts.
  expect_up_to_date("2");
}

TEST_F(TrialTest, AHigherEpochEndsWhatALostRecordHolds) {
  ASSERT_DONE(command({"mark-bad"}));
  ASSERT_EQ(reboot(), "1");
  ASSERT_DONE(command({"note-boot"}));
  const std::string prefix = offered_.image.digest.hex().substr(0, 12);
  write("sysroot/cfs/deployments/" + prefix + ".0/deployment.json", std::string(300, '\0'));
  Result<int> held = update();
  ASSERT_TRUE(held) << held.error().describe();
  ASSERT_EQ(*held, 10);
  EXPECT_THAT(output_, HasSubstr("held: test 2 (epoch 2), it was marked bad"));
  FakeRelease again = second_release();
  again.epoch = 7;
  offer(again);
  ASSERT_DONE(update());
  EXPECT_EQ(reboot(), "2");
}

TEST_F(TrialTest, WhatIsTakenAgainHasAllItsTries) {
  ASSERT_DONE(command({"note-boot"}));
  ASSERT_DONE(rollback());
  ASSERT_EQ(reboot(), "1");
  ASSERT_DONE(update({"--retry"}));
  EXPECT_THAT(names_in("esp/EFI/Linux"),
              testing::Contains(AllOf(StartsWith("cfs_2_"), testing::EndsWith("+3.efi"))));
  ASSERT_EQ(reboot(), "2");
  // The same by its id.
  ASSERT_DONE(rollback());
  ASSERT_EQ(reboot(), "1");
  ASSERT_DONE(command({"boot", offered_.image.digest.hex().substr(0, 12)}));
  EXPECT_THAT(names_in("esp/EFI/Linux"),
              testing::Contains(AllOf(StartsWith("cfs_2_"), testing::EndsWith("+3.efi"))));
}

TEST_F(TrialTest, AGoodReleaseIsNotRestarted) {
  add_check("exit 0");
  ASSERT_DONE(health());
  EXPECT_FALSE(is_restarting());
  ASSERT_DONE(command({"bless"}));
  EXPECT_THAT(output_, HasSubstr("2 is good"));
  add_check("exit 1");
  Result<int> checked = health();
  ASSERT_TRUE(checked) << checked.error().describe();
  EXPECT_EQ(*checked, 1);
  EXPECT_FALSE(is_restarting());
  EXPECT_THAT(read("run/motd.d/cfs"), HasSubstr("2 is not in good health"));
  EXPECT_EQ(boots_next().substr(0, 6), "cfs_2_");
}

TEST_F(TrialTest, WhatStopsEarlyLeavesItsReason) {
  const std::string digest = offered_.image.digest.hex();
  reboot();
  reboot();
  ASSERT_TRUE(make_directories(AT_FDCWD, path("sysroot/cfs/state/boot")));
  write("sysroot/cfs/state/boot/failure.json",
        R"({"code":"self-test","digest":")" + digest + R"(","schema":1,"text":"no init"})");
  ASSERT_EQ(reboot(), "1");
  ASSERT_DONE(command({"note-boot"}));
  EXPECT_THAT(status(), HasSubstr("2 failed: the boot stopped: FATAL self-test: no init."));
  EXPECT_THAT(names_in("sysroot/cfs/state/boot"), IsEmpty());
}

TEST_F(TrialTest, AGoodOneThatDoesNotBootAnyMoreIsLeft) {
  ASSERT_EQ(reboot_well(), "2");
  ASSERT_DONE(command({"recovery", "set", reference("previous").substr(15)}));
  // A check has failed once, which is not why it does not boot.
  add_check("exit 3");
  ASSERT_TRUE(health());
  add_check("exit 0");
  const std::string other = stop_and_ask_for_other();
  ASSERT_EQ(reboot(), "1");
  ASSERT_DONE(command({"note-boot"}));
  EXPECT_THAT(status(), HasSubstr("2 failed: the boot stopped: FATAL image-digest: not that"));
  EXPECT_THAT(read("run/motd.d/cfs"), HasSubstr("2 failed: the boot stopped"));
  EXPECT_EQ(boots_next(), other);
  Result<int> held = update();
  ASSERT_TRUE(held) << held.error().describe();
  EXPECT_THAT(output_, HasSubstr("held: test 2"));
  ASSERT_EQ(reboot(), "1");
  ASSERT_DONE(update({"--retry"}));
  ASSERT_EQ(reboot_well(), "2");
  EXPECT_THAT(status(), Not(HasSubstr("failed")));
}

// Nobody counts its boots, and cfs-mount-root stops each of them.
TEST_F(TrialTest, ATrialThatIsNotCountedAndDoesNotBootIsLeft) {
  ASSERT_DONE(command({"note-boot"}));
  firmware_renames_ = false;
  stop_and_ask_for_other();
  ASSERT_EQ(reboot(), "1");
  ASSERT_DONE(command({"note-boot"}));
  EXPECT_THAT(status(), StartsWith("test 1 is running and boots next. 2 failed: "));
  Result<int> held = update();
  ASSERT_TRUE(held) << held.error().describe();
  EXPECT_THAT(output_, HasSubstr("held: test 2"));
}

TEST_F(TrialTest, AGoodOneThatTheFirmwareWantsIsLeftToo) {
  ASSERT_EQ(reboot_well(), "2");
  const std::string good = boots_next();
  ASSERT_DONE(command({"boot", reference("previous").substr(15)}));
  set_variable("LoaderEntryDefault", good + "*");
  ASSERT_EQ(boots_next(), good);
  stop_and_ask_for_other();
  ASSERT_EQ(reboot(), "1");
  ASSERT_DONE(command({"note-boot"}));
  EXPECT_THAT(status(), HasSubstr("2 failed: the boot stopped: FATAL image-digest: not that"));
  ASSERT_EQ(reboot(), "1");
}

TEST_F(TrialTest, OneFailureIsNotTheEnd) {
  ASSERT_EQ(reboot_well(), "2");
  const std::string good = boots_next();
  leave_failure({good.substr(good.rfind('_') + 1)});
  ASSERT_DONE(command({"note-boot"}));
  EXPECT_THAT(status(), HasSubstr("test 2 is running and boots next"));
}

TEST_F(TrialTest, TheWayBackThatWasChosenStays) {
  ASSERT_EQ(reboot_well(), "2");
  // Release 2 runs, and would not boot again: its UKI's copy is damaged.
  const std::string releases = "sysroot/cfs/releases/" + offered_.image.digest.hex();
  for (const std::string& name : names_in(releases)) {
    if (name.ends_with(".efi")) write(releases + "/" + name, "damaged");
  }
  offer(third_release());
  ASSERT_DONE(update());
  EXPECT_THAT(status(), HasSubstr("if that fails, 1 boots"));
  ASSERT_EQ(reboot(), "3");
  ASSERT_DONE(command({"note-boot"}));
  EXPECT_THAT(status(), HasSubstr("if that fails, 1 boots"));
  for (int i = 0; i < 2; ++i) ASSERT_EQ(reboot(), "3");
  EXPECT_EQ(reboot(), "1");
}

TEST_F(TrialTest, AMarkBadThatWasCutOffGoesOnToWhatIsWhole) {
  const std::string image2 = offered_.image.digest.object_path();
  ASSERT_EQ(reboot_well(), "2");
  ASSERT_DONE(
      run_command({"pin", "--sysroot", path("sysroot"), one_.image.digest.hex().substr(0, 12)}));
  offer(third_release());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot_well(), "3");
  std::filesystem::remove(path("sysroot/cfs/objects/" + image2));
  {
    Sysroot sysroot = Sysroot::open(environment_, path("sysroot"), Access::kWrite).value();
    Deployment bad = *read_inventory(sysroot)->references.booted;
    bad.state = DeploymentState::kBad;
    bad.held = Reason{.kind = ReasonKind::kMarkedBad};
    ASSERT_TRUE(save_deployment(sysroot, bad));
  }
  ASSERT_DONE(command({"note-boot"}));
  EXPECT_THAT(boots_next(), StartsWith("cfs_1_"));
  EXPECT_EQ(reboot_well(), "1");
}

TEST_F(TrialTest, WhenTheLimitIsOverWhatIsHealthyIsBlessed) {
  environment_.print = [](std::string_view) {};
  const std::string unneeded(64, 'a');
  std::filesystem::create_symlink("../objects/aa/" + std::string(62, 'a'),
                                  path("sysroot/cfs/images/" + unneeded));
  for (const bool has_passed : {false, true}) {
    std::filesystem::remove(path("run/cfs/health.json"));
    if (has_passed) write("run/cfs/health.json", R"({"passed":true})");
    Sysroot sysroot = Sysroot::open(environment_, path("sysroot"), Access::kWrite).value();
    boot::SystemdBoot esp = loader();
    EXPECT_EQ(end_overdue_trial(sysroot, esp, environment_, std::chrono::minutes(15)).value(),
              !has_passed);
    const DeploymentState state = read_inventory(sysroot)->references.booted->state;
    EXPECT_EQ(state, has_passed ? DeploymentState::kGood : DeploymentState::kTrial);
    EXPECT_EQ(sysroot.directory().exists("images/" + unneeded).value(), !has_passed);
  }
}

TEST_F(TrialTest, AHealthyOneWaitsForWhoeverChangesTheSysroot) {
  environment_.print = [](std::string_view) {};
  std::filesystem::remove(path("run/cfs/health.json"));
  auto ends = [&] {
    return end_trial_at_limit(environment_, path("sysroot"), path("esp"), std::chrono::minutes(15),
                              std::chrono::seconds(0));
  };
  auto take_lock = [&] {
    UniqueFd file = open_at(AT_FDCWD, path("sysroot/cfs/lock"), O_RDWR).value();
    return FileLock::try_take(std::move(file), LockMode::kExclusive).value();
  };
  {
    std::optional<FileLock> lock = take_lock();
    EXPECT_TRUE(ends().value());  // its boots are counted
    set_variable("LoaderBootCountPath", "");
    EXPECT_FALSE(ends().value());
  }
  write("run/cfs/health.json", R"({"passed":true})");
  std::optional<FileLock> lock = take_lock();
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    lock.reset();
  });
  EXPECT_FALSE(ends().value());
  other.join();
  EXPECT_THAT(status(), StartsWith("test 2 is running and boots next.\n"));
}

TEST_F(TrialTest, AHealthyOneThatWasStartedByKexecGoesOnOnTrial) {
  start_kernel(13);
  write("run/cfs/health.json", R"({"passed":true})");
  EXPECT_FALSE(end_trial_at_limit(environment_, path("sysroot"), path("esp"),
                                  std::chrono::minutes(15), std::chrono::seconds(0))
                   .value());
  EXPECT_THAT(status(), HasSubstr("test 2 is running, on trial"));
  ASSERT_DONE(run_command({"history", "--sysroot", path("sysroot")}));
  EXPECT_THAT(output_, Not(HasSubstr("failed")));
}

// Also by the timer, which may come before the limit.
TEST_F(TrialTest, AnUpdateInTheLastTryGivesNoNewOnes) {
  add_check("exit 3");
  for (const char* boots : {"2", "2", "1"}) {
    Result<int> done = update();
    ASSERT_TRUE(done) << done.error().describe();
    EXPECT_EQ(*done, 10) << output_;
    EXPECT_EQ(reboot(), boots);
  }
  ASSERT_DONE(command({"note-boot"}));
  EXPECT_THAT(status(), StartsWith("test 1 is running and boots next. 2 failed: "));
}

TEST_F(TrialTest, WhoAsksForItInTheLastTryGetsNewOnes) {
  reboot();
  ASSERT_EQ(reboot(), "2");
  ASSERT_TRUE(update());
  EXPECT_THAT(boots_next(), StartsWith("cfs_1_"));
  ASSERT_DONE(update({"--retry"}));
  EXPECT_THAT(boots_next(), StartsWith("cfs_2_"));
}

// What was left for it is bad, and would come first.
TEST_F(TrialTest, TheLastTryStaysTheLastWhateverIsBad) {
  reboot();
  ASSERT_EQ(reboot(), "2");
  const std::string record =
      "sysroot/cfs/deployments/" + one_.image.digest.hex().substr(0, 12) + ".0/deployment.json";
  std::string text = read(record);
  text.replace(text.find(R"("state":"good")"), 14,
               R"("held":{"kind":"marked-bad","when":1},"state":"bad")");
  write(record, text);
  ASSERT_DONE(command({"note-boot"}));
  EXPECT_THAT(names_in("esp/EFI/Linux"), testing::Contains(testing::EndsWith("+0-3.efi")));
}

TEST_F(TrialTest, WhereTheSysrootCannotBeReadTheBootLoadersWordCounts) {
  EXPECT_TRUE(is_on_trial(environment_, path("sysroot")).value());
  const std::string records = path("sysroot/cfs/deployments");
  std::filesystem::rename(records, path("away"));
  write("sysroot/cfs/deployments", "no directory");
  EXPECT_TRUE(is_on_trial(environment_, path("sysroot")).value());
  set_variable("LoaderBootCountPath", "");
  EXPECT_FALSE(is_on_trial(environment_, path("sysroot")));
  std::filesystem::remove(records);
  std::filesystem::rename(path("away"), records);
  write("run/cfs/health.json", R"({"passed":true})");
  ASSERT_DONE(command({"bless"}));
  EXPECT_FALSE(is_on_trial(environment_, path("sysroot")).value());
}

TEST_F(TrialTest, TheWatchdogAndThePanicAreToldApart) {
  ASSERT_DONE(command({"note-boot"}));
  for (const auto& [watchdog, status] : {std::pair("watchdog0", "0\n"), {"watchdog1", "32\n"}}) {
    const std::string directory = "sys/class/watchdog/" + std::string(watchdog);
    ASSERT_TRUE(make_directories(AT_FDCWD, path(directory)));
    write(directory + "/bootstatus", status);
  }
  reboot();
  ASSERT_DONE(command({"note-boot"}));
  ASSERT_DONE(run_command({"history", "--sysroot", path("sysroot")}));
  EXPECT_THAT(output_, HasSubstr("failed: it hung; the watchdog reset the machine"));
  ASSERT_TRUE(make_directories(AT_FDCWD, path("sys/fs/pstore")));
  write("sys/fs/pstore/dmesg-efi-1", "<6>x\n<0>Kernel panic - not syncing: no init\n<0>more\n");
  reboot();
  ASSERT_DONE(command({"note-boot"}));
  ASSERT_DONE(run_command({"history", "--sysroot", path("sysroot")}));
  EXPECT_THAT(output_, HasSubstr("the kernel panicked: Kernel panic - not syncing: no init"));
}

TEST_F(TrialTest, AKexecProvesNothing) {
  start_kernel(13);
  write("run/cfs/health.json", R"({"passed":true})");
  expect_exit(command({"bless"}), 1, "started by kexec");
  EXPECT_THAT(status(), HasSubstr("test 2 is running, on trial"));
  start_kernel();
  ASSERT_DONE(command({"bless"}));
}

TEST_F(TrialTest, ASoftRebootProvesNothing) {
  write("run/cfs/health.json", R"({"passed":true})");
  ASSERT_TRUE(make_directories(AT_FDCWD, path("run/systemd/system")));
  auto systemctl = [&](const std::string& does) {
    write("systemctl", "#!/bin/sh\n" + does);
    ASSERT_EQ(::chmod(path("systemctl").c_str(), 0755), 0);
  };
  systemctl("test \"$*\" = 'show --property=SoftRebootsCount --value' && echo 1\n");
  expect_exit(command({"bless"}), 1, "started by a soft-reboot");
  systemctl("echo no bus; exit 1\n");
  expect_exit(command({"bless"}), 1, "systemctl does not answer: no bus");
  EXPECT_THAT(status(), HasSubstr("test 2 is running, on trial"));
  systemctl("echo 0\n");
  ASSERT_DONE(command({"bless"}));
  systemctl("echo 1\n");
  ASSERT_DONE(command({"bless"}));
  EXPECT_THAT(output_, HasSubstr("2 was good already"));
}

TEST_F(TrialTest, WhatWasMarkedBadStaysBadWhateverItsChecksSay) {
  ASSERT_DONE(command({"mark-bad", "--reason", "the pump does not start"}));
  write("run/cfs/health.json", R"({"passed":true})");
  expect_exit(command({"bless"}), 1, "2 stays bad: it was marked bad: the pump does not start");
  EXPECT_THAT(boots_next(), StartsWith("cfs_1_"));
  Result<int> held = update();
  ASSERT_TRUE(held) << held.error().describe();
  EXPECT_EQ(*held, 10) << output_;
}

TEST_F(TrialTest, AMistakeInTheConfigurationDoesNotKeepABadRelease) {
  write("local/deploy.yaml", "keeep: 3\n");
  ASSERT_DONE(command({"mark-bad"}));
  EXPECT_THAT(boots_next(), StartsWith("cfs_1_"));
}

// Somebody starts the good release from the menu, and then the other one uses up its tries.
TEST_F(TrialTest, ATrialThatWasLeftFailsAllTheSame) {
  ASSERT_DONE(command({"note-boot"}));
  set_booted(one_.image.digest.hex());
  const std::vector<boot::BootEntry> entries = loader().list().value();
  for (const boot::BootEntry& entry : entries) {
    if (entry.id.starts_with("cfs_1_")) set_selected_entry(entry.id);
  }
  start_kernel();
  ASSERT_DONE(command({"note-boot"}));
  EXPECT_THAT(reference("staged"), Not(IsEmpty()));
  ASSERT_EQ(reboot(), "2");
  ASSERT_EQ(reboot(), "2");
  ASSERT_EQ(reboot(), "1");
  ASSERT_DONE(command({"note-boot"}));
  EXPECT_THAT(status(), AllOf(HasSubstr("2 failed: "), HasSubstr("  bad  held: ")));
}

TEST_F(TrialTest, WhatRunsIsNotedThoughItsEntryIsLost) {
  ASSERT_EQ(reboot(), "2");
  ASSERT_EQ(reboot(), "2");
  ASSERT_EQ(reboot(), "1");
  for (const std::string& file : names_in("esp/EFI/Linux")) {
    if (file.starts_with("cfs_1_")) std::filesystem::remove(path("esp/EFI/Linux/" + file));
  }
  ASSERT_DONE(command({"note-boot"}));
  ASSERT_DONE(command({"fsck", "--repair"}));
  EXPECT_THAT(boots_next(), StartsWith("cfs_1_"));
  EXPECT_THAT(status(), StartsWith("test 1 is running and boots next. 2 failed: "));
}

TEST_F(TrialTest, BlessingWaitsForWhoeverChangesTheSysroot) {
  write("run/cfs/health.json", R"({"passed":true})");
  UniqueFd file = open_at(AT_FDCWD, path("sysroot/cfs/lock"), O_RDWR).value();
  std::optional<FileLock> lock = FileLock::try_take(std::move(file), LockMode::kExclusive).value();
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    lock.reset();
  });
  Result<int> blessed = command({"bless"});
  other.join();
  ASSERT_DONE(std::move(blessed));
}

TEST_F(TrialTest, NobodyIsWaitedForLongerThanTheLimit) {
  UniqueFd file = open_at(AT_FDCWD, path("sysroot/cfs/lock"), O_RDWR).value();
  std::optional<FileLock> lock = FileLock::try_take(std::move(file), LockMode::kExclusive).value();
  Result<Sysroot> opened =
      Sysroot::open_when_free(environment_, path("sysroot"), std::chrono::seconds(1));
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kBusy);
}

TEST_F(TrialTest, CancelStaysWithWhatRunsWhateverIsStaged) {
  ASSERT_EQ(reboot_well(), "2");
  set_variable("LoaderEntryDefault", "cfs_1_*");
  ASSERT_DONE(command({"cancel"}));
  EXPECT_THAT(boots_next(), StartsWith("cfs_2_"));
  expect_exit(command({"cancel"}), 10, "no update is staged");
}

TEST_F(TrialTest, EverySwitchGivesTheTriesOfTheConfiguration) {
  ASSERT_EQ(reboot_well(), "2");
  write("local/deploy.yaml", "tries: 5\n");
  offer(third_release());
  ASSERT_DONE(command({"fetch"}));
  ASSERT_DONE(command({"boot", offered_.image.digest.hex().substr(0, 12) + ".0"}));
  EXPECT_THAT(names_in("esp/EFI/Linux"), testing::Contains(HasSubstr("+5.efi")));
}

// A repository that is away for weeks must not keep what is staged from being started.
TEST_F(TrialTest, WithoutTheRepositoryWhatIsStagedIsStartedAllTheSame) {
  ASSERT_EQ(reboot_well(), "2");
  offer(third_release());
  ASSERT_DONE(update());
  write("local/deploy.yaml", "reboot: {when: now}\n");
  fault_ = [](const Request&, Response& response) { response.status = 503; };
  expect_exit(command({"update", "--unattended"}), 8, "");
  EXPECT_TRUE(is_restarting());
}

TEST_F(TrialTest, AStaleDefaultOfTheFirmwareIsSeenAndWithdrawn) {
  ASSERT_EQ(reboot_well(), "2");
  offer(third_release());
  ASSERT_DONE(update());
  set_variable("LoaderEntryDefault", "cfs_2_*");
  EXPECT_THAT(status(), HasSubstr("LoaderEntryDefault asks for it"));
  ASSERT_DONE(update());
  EXPECT_EQ(boots_next().substr(0, 6), "cfs_3_");
  EXPECT_THAT(status(), StartsWith("test 2 is running; 3 boots next, with 3 tries left; if that "
                                   "fails, 2 boots.\n"));
}

TEST_F(TrialTest, MarkedBadLate) {
  ASSERT_EQ(reboot_well(), "2");
  ASSERT_DONE(command({"mark-bad", "--reason", "orders are lost"}));
  EXPECT_THAT(boots_next(), StartsWith("cfs_1_"));
  ASSERT_EQ(reboot(), "1");
  ASSERT_DONE(command({"note-boot"}));
  EXPECT_THAT(status(), HasSubstr("2 failed: it was marked bad: orders are lost."));
  Result<int> held = update();
  ASSERT_TRUE(held) << held.error().describe();
  EXPECT_EQ(*held, 10);
  environment_.now = [] { return trust::FakeRepository::kNow + 90'000; };
  Result<int> late = command({"mark-bad"});
  expect_exit(late, 1, "proven good long ago");
}

// The first release of a device has no tries: a restart would only bring it back.
class FirstReleaseTest : public DeviceTest {};

TEST_F(FirstReleaseTest, IsNotRestartedForAFailingCheck) {
  write("systemctl", "#!/bin/sh\necho \"$@\" >>" + path("asked") + "\n");
  ASSERT_TRUE(make_directories(AT_FDCWD, path("vendor/health.d/required")));
  write("vendor/health.d/required/web", "#!/bin/sh\nexit 3\n");
  for (const char* program : {"systemctl", "vendor/health.d/required/web"}) {
    ASSERT_EQ(::chmod(path(program).c_str(), 0755), 0);
  }
  environment_.systemctl = path("systemctl");
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot(), "1");
  Result<int> checked = command({"health", "--on-trial"});
  ASSERT_TRUE(checked) << checked.error().describe();
  EXPECT_EQ(*checked, 1);
  EXPECT_THAT(read("asked"), Not(HasSubstr("reboot")));
  EXPECT_THAT(read("run/motd.d/cfs"), HasSubstr("1 is not in good health: the check 'web' failed"));
  EXPECT_FALSE(end_trial_at_limit(environment_, path("sysroot"), path("esp"),
                                  std::chrono::minutes(15), std::chrono::seconds(0))
                   .value());
}

}  // namespace
}  // namespace cfs::deployer
