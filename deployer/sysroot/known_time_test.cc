// SPDX-License-Identifier: Apache-2.0
#include "deployer/sysroot/known_time.h"

#include <algorithm>

#include "deployer/sysroot/history.h"
#include "deployer/test_support.h"
#include "lib/sysroot/layout.h"

namespace cfs::deployer {
namespace {

constexpr UnixTime kNow = trust::FakeRepository::kNow;
constexpr UnixTime kDay = 86400;

/// Release 1 runs, and has proven good.
class KnownTimeTest : public DeviceTest {
 protected:
  void SetUp() override {
    environment_.now = [this] { return clock_; };
    one_ = offer(first_release());
    ASSERT_DONE(init());
    ASSERT_DONE(update());
    ASSERT_EQ(reboot_well(), "1");
  }
  /// What is offered from now on vouches for itself until then.
  void set_expiry(UnixTime expires) {
    std::lock_guard lock(mutex_);
    repository_.roles["timestamp"].expires = expires;
  }
  /// Changes a member of a JSON file below the sysroot's directory wherever it stands.
  void set_number(const std::string& file, const std::string& member, const std::string& number) {
    std::string text = read("sysroot/cfs/" + file);
    const std::string key = "\"" + member + "\":";
    size_t count = 0;
    for (size_t at = text.find(key); at != std::string::npos; at = text.find(key, at + 1)) {
      const size_t begin = at + key.size();
      text.replace(begin, text.find_first_not_of("0123456789", begin) - begin, number);
      ++count;
    }
    ASSERT_GT(count, 0U) << file << ": " << text;
    write("sysroot/cfs/" + file, text);
  }
  void expect_expired(const Result<int>& result) {
    ASSERT_FALSE(result) << output_;
    EXPECT_EQ(result.error().code, ErrorCode::kExpired) << result.error().describe();
  }
  Deployment record_of(const std::string& version) {
    Sysroot sysroot = Sysroot::open(environment_, path("sysroot"), Access::kRead).value();
    const Inventory inventory = read_inventory(sysroot).value();
    for (const Deployment& one : inventory.deployments) {
      if (one.version == version) return one;
    }
    ADD_FAILURE() << "none of " << version;
    return {};
  }

  UnixTime clock_ = kNow;
  release::ReleaseDescription one_;
};

TEST_F(KnownTimeTest, WithoutAClockWhatExpiredBeforeTheLastLookIsNotFresh) {
  clock_ = kNow + kDay / 2;
  expect_up_to_date("1");
  EXPECT_EQ(read("sysroot/cfs/trust/verified-at"), format_time(clock_) + "\n");
  set_expiry(clock_ - 1);
  offer(second_release());
  clock_ = 0;
  for (const char* verb : {"check", "fetch", "update"}) {
    SCOPED_TRACE(verb);
    expect_expired(command({verb}));
    EXPECT_THAT(output_, HasSubstr("the clock says 1970-01-01T00:00:00Z, but it has been later "
                                   "before: it is taken to be 2027-01-15T20:00:00Z"));
  }
  // What is looked for to repair something is judged as strictly.
  const std::string description = "sysroot/cfs/" + sysroot::description_path(one_.image.digest);
  std::filesystem::remove(path(description));
  Result<int> repaired = command({"fsck", "--repair"});
  EXPECT_TRUE(!repaired || *repaired != 0) << output_;
  EXPECT_FALSE(std::filesystem::exists(path(description)));
  set_expiry(kNow + 2 * kDay);
  offer(second_release());
  ASSERT_DONE(command({"fsck", "--repair"}));
  EXPECT_TRUE(std::filesystem::exists(path(description)));
  ASSERT_DONE(update());
  // A clock that is wrong is not written down.
  EXPECT_EQ(read("sysroot/cfs/trust/verified-at"), "2027-01-15T20:00:00Z\n");
}

TEST_F(KnownTimeTest, RecordsTellTheTimeToo) {
  std::filesystem::remove(path("sysroot/cfs/trust/verified-at"));
  set_expiry(kNow - 1);
  offer(second_release());
  clock_ = 0;
  expect_expired(update());
  write("sysroot/cfs/trust/verified-at", "damaged");
  expect_expired(update());
}

TEST_F(KnownTimeTest, TimesInTheFutureDoNotBlock) {
  const std::string record = sysroot::record_path(record_of("1").id);
  const std::string description = sysroot::description_path(one_.image.digest);
  for (const std::string future :
       {"3000000000", "253402300799", "1800000000000", "9007199254740991"}) {
    SCOPED_TRACE(future);
    set_number("history.json", "started", future);
    set_number(record, "installed", future);
    set_number(record, "blessed", future);
    set_number(description, "created", future);
    expect_up_to_date("1");
    clock_ = 0;
    expect_up_to_date("1");
    clock_ = kNow;
    ASSERT_DONE(run_command({"history", "--sysroot", path("sysroot")}));
    (void)command({"health"});  // which looks at `created`
  }
  offer(second_release());
  ASSERT_DONE(update());
  EXPECT_EQ(reboot_well(), "2");
  EXPECT_LE(record_of("2").installed, static_cast<uint64_t>(kMaxTime));
  EXPECT_LE(record_of("2").blessed, static_cast<uint64_t>(kMaxTime));
  ASSERT_DONE(run_command({"history", "--sysroot", path("sysroot")}));
}

TEST_F(KnownTimeTest, AReleaseThatWasMadeInTheFutureIsRefused) {
  FakeRelease second = second_release();
  second.created = kNow + kDay + 1;
  const release::ReleaseDescription two = offer(second);
  server_.forget();
  for (const char* verb : {"check", "fetch", "update"}) {
    expect_exit(command({verb}), 7, "made at 2027-01-16T08:00:01Z, later than the metadata");
  }
  EXPECT_EQ(server_.count("/obj/"), 0U);
  EXPECT_THAT(names_in("sysroot/cfs/releases"), ElementsAre(one_.image.digest.hex()));
  second.created = kNow + kDay;
  second.version = "3";
  second.epoch = 3;
  offer(second);
  ASSERT_DONE(update());
}

TEST_F(KnownTimeTest, RecordsAreInOrderWhateverTheClockDoes) {
  ASSERT_TRUE(make_directories(AT_FDCWD, path("local")));
  write("local/deploy.yaml", "keep: 3\n");
  clock_ = kNow - 300 * kDay;
  uint64_t last = record_of("1").blessed;
  for (uint64_t number = 2; number <= 4; ++number) {
    FakeRelease next = first_release();
    next.version = std::to_string(number);
    next.epoch = number;
    next.files["/usr/bin/own"] = random_text(9000, number);
    offer(next);
    ASSERT_DONE(update());
    EXPECT_GT(record_of(next.version).installed, record_of(std::to_string(number - 1)).installed);
    ASSERT_EQ(reboot_well(), next.version);
    EXPECT_GT(record_of(next.version).blessed, last);
    last = record_of(next.version).blessed;
  }
  Sysroot sysroot = Sysroot::open(environment_, path("sysroot"), Access::kRead).value();
  const History history = read_history(sysroot).value();
  EXPECT_TRUE(std::is_sorted(history.begin(), history.end(),
                             [](const Boot& a, const Boot& b) { return a.started < b.started; }));
  // The last ones that were good are kept, and the last of these is the way back.
  EXPECT_THAT(status(), AllOf(HasSubstr("test 4 "), HasSubstr("previous  test 3 "),
                              HasSubstr("other     test 2 "), Not(HasSubstr("test 1 "))));
}

TEST_F(KnownTimeTest, WhatProvedGoodInThisBootIsNeverLate) {
  offer(second_release());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot_well(), "2");
  clock_ = kNow + 300 * kDay;  // somebody has set it, minutes after
  ASSERT_DONE(command({"mark-bad", "--reason", "x"}));
  ASSERT_EQ(reboot_well(), "1");
  expect_exit(command({"mark-bad"}), 1, "proven good long ago, at 2027-01-15T08:00:01Z");
}

}  // namespace
}  // namespace cfs::deployer
