// SPDX-License-Identifier: Apache-2.0
#include "deployer/config/schedule.h"

#include "deployer/test_support.h"

namespace cfs::deployer {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

constexpr UnixTime kMidnight = 86400 * 20000;

class ScheduleTest : public DeviceTest {
 protected:
  ScheduleTest() {
    environment_.machine_id = path("machine-id");
    write("machine-id", "0123456789abcdef0123456789abcdef\n");
    environment_.busctl = path("busctl");
    at(kMidnight);
    config_.update.jitter = seconds(0);
  }
  void at(UnixTime time) {
    environment_.now = [time] { return time; };
  }
  /// Empty: it looks.
  std::string why_not_look() {
    return deployer::why_not_look(config_, environment_).value().value_or("");
  }
  std::string why_not_reboot() {
    return deployer::why_not_reboot(config_, environment_).value().value_or("");
  }
  std::string program(const std::string& name, const std::string& script) {
    write(name, "#!/bin/sh\n" + script + "\n");
    std::filesystem::permissions(path(name), std::filesystem::perms::owner_all);
    return path(name);
  }
  /// A window of two hours that has the present in it, or not.
  TimeWindow window(bool is_now) {
    const int now = minute_of_day(environment_.now());
    const int begin = (now + (is_now ? 1380 : 60)) % 1440;
    return {.begin = begin, .end = (begin + 120) % 1440};
  }
  Config config_;
};

TEST_F(ScheduleTest, LooksOnceInEachInterval) {
  EXPECT_EQ(why_not_look(), "") << "the first look of a boot";
  ASSERT_TRUE(note_look(environment_));
  EXPECT_THAT(why_not_look(), HasSubstr("update.every is not over"));
  at(kMidnight + 86399);
  EXPECT_THAT(why_not_look(), HasSubstr("update.every is not over"));
  at(kMidnight + 86400);
  EXPECT_EQ(why_not_look(), "");
  ASSERT_TRUE(note_look(environment_));
  EXPECT_NE(why_not_look(), "");
  at(kMidnight);
  EXPECT_EQ(why_not_look(), "") << "the clock was wrong then";
  write("run/cfs/last-look", "rubbish\n");
  EXPECT_EQ(why_not_look(), "");
}

TEST_F(ScheduleTest, AWindow) {
  config_.update.window = window(false);
  EXPECT_THAT(why_not_look(), HasSubstr("update.window"));
  config_.update.window = window(true);
  EXPECT_EQ(why_not_look(), "");
}

TEST_F(ScheduleTest, AMeteredNetwork) {
  config_.update.metered = Metered::kRefuse;
  EXPECT_EQ(why_not_look(), "") << "no NetworkManager";
  for (const auto& [answer, looks] : std::vector<std::pair<std::string, bool>>{
           {"u 1", false}, {"u 3", false}, {"u 0", true}, {"u 2", true}, {"u 4", true}}) {
    program("busctl", "echo '" + answer + "'");
    EXPECT_EQ(why_not_look() == "", looks) << answer;
  }
  program("busctl", "echo no such service >&2; exit 1");
  EXPECT_EQ(why_not_look(), "");
  program("busctl", "echo u 1");
  config_.update.metered = Metered::kAllow;
  EXPECT_EQ(why_not_look(), "");
}

TEST_F(ScheduleTest, WhenToReboot) {
  EXPECT_EQ(why_not_reboot(), "reboot.when is never");
  config_.reboot.when = RebootWhen::kNow;
  EXPECT_EQ(why_not_reboot(), "");
  config_.reboot.when = RebootWhen::kWindow;
  EXPECT_EQ(why_not_reboot(), "") << "always is a window too";
  config_.update.window = window(false);
  EXPECT_THAT(why_not_reboot(), HasSubstr("update.window"));
  config_.update.window = window(true);
  EXPECT_EQ(why_not_reboot(), "");
  config_.reboot.when = RebootWhen::kIdle;
  config_.reboot.idle_command = {program("idle", "echo \"$1 plays\"; exit 3"), "anna"};
  EXPECT_EQ(why_not_reboot(), "the device is not idle: '" + path("idle") +
                                  "' exited with status 3, saying: anna plays");
  program("idle", "exit 0");
  EXPECT_EQ(why_not_reboot(), "");
}

TEST_F(ScheduleTest, TheLockIsTakenLast) {
  config_.reboot.lock_command = {program("lock", ": > " + path("taken"))};
  EXPECT_NE(why_not_reboot(), "");
  EXPECT_FALSE(std::filesystem::exists(path("taken")));
  config_.reboot.when = RebootWhen::kNow;
  EXPECT_EQ(why_not_reboot(), "");
  EXPECT_TRUE(std::filesystem::exists(path("taken")));
  program("lock", "kill -KILL $$");
  EXPECT_THAT(why_not_reboot(), AllOf(HasSubstr("no lock"), HasSubstr("killed by signal 9")));
  config_.reboot.lock_command = {path("absent")};
  EXPECT_THAT(why_not_reboot(), HasSubstr("absent"));
}

TEST(Schedule, EachDeviceHasItsPartOfTheJitter) {
  constexpr int kDevices = 4000;
  std::array<int, 4> quarters{};
  for (int device = 0; device < kDevices; ++device) {
    const std::string id = "device " + std::to_string(device);
    const seconds part = part_of_jitter(id, hours(24));
    EXPECT_EQ(part, part_of_jitter(id, hours(24)));
    ASSERT_GE(part.count(), 0);
    ASSERT_LT(part, hours(24));
    ++quarters.at(static_cast<size_t>(part / hours(6)));
  }
  for (int count : quarters) EXPECT_NEAR(count, kDevices / 4, 150);
  EXPECT_EQ(part_of_jitter("x", seconds(0)).count(), 0);
}

TEST(Schedule, TheOffsetShiftsTheMoments) {
  EXPECT_FALSE(is_due(kMidnight + 3599, kMidnight - 1, hours(24), hours(1)));
  EXPECT_TRUE(is_due(kMidnight + 3600, kMidnight - 1, hours(24), hours(1)));
  EXPECT_TRUE(is_due(kMidnight + 86400 * 9, kMidnight, hours(24), hours(1)));
  // An offset larger than the interval is as good as its rest.
  EXPECT_FALSE(is_due(kMidnight + 1799, kMidnight, hours(1), hours(23) + seconds(1800)));
  EXPECT_TRUE(is_due(kMidnight + 1800, kMidnight, hours(1), hours(23) + seconds(1800)));
  EXPECT_TRUE(is_due(100, 0, hours(1), seconds(100))) << "before the first moment of all";
}

TEST(Schedule, AWindowMayGoOverMidnight) {
  const TimeWindow night{.begin = 22 * 60, .end = 4 * 60};
  EXPECT_TRUE(is_within(night, 22 * 60));
  EXPECT_TRUE(is_within(night, 0));
  EXPECT_TRUE(is_within(night, 4 * 60 - 1));
  EXPECT_FALSE(is_within(night, 4 * 60));
  EXPECT_FALSE(is_within(night, 12 * 60));
  const TimeWindow day{.begin = 8 * 60, .end = 9 * 60};
  EXPECT_TRUE(is_within(day, 8 * 60));
  EXPECT_FALSE(is_within(day, 9 * 60));
  EXPECT_FALSE(is_within(day, 0));
}

}  // namespace
}  // namespace cfs::deployer
