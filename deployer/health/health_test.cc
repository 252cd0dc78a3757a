// SPDX-License-Identifier: Apache-2.0
#include "deployer/health/health.h"

#include <sys/stat.h>

#include <algorithm>

#include "deployer/health/built_in.h"
#include "deployer/sysroot/sysroot.h"
#include "deployer/test_support.h"
#include "lib/json/reader.h"

namespace cfs::deployer {
namespace {

class HealthTest : public DeviceTest {
 protected:
  HealthTest() {
    environment_.systemctl = path("systemctl");
    add_program("systemctl", "exit 0");
  }
  void add_program(const std::string& file, const std::string& script) {
    EXPECT_TRUE(
        make_directories(AT_FDCWD, std::filesystem::path(path(file)).parent_path().string()));
    write(file, "#!/bin/sh\n" + script + "\n");
    EXPECT_EQ(::chmod(path(file).c_str(), 0755), 0);
  }
  /// A device on which a release runs.
  void start_device() {
    offer(first_release());
    ASSERT_DONE(init());
    ASSERT_DONE(update());
    reboot();
  }
  HealthReport health() {
    return run_health(environment_, {.sysroot = path("sysroot"), .esp = path("esp"), .tell = {}})
        .value();
  }
  CheckResult check(const std::string& name) {
    for (CheckResult& one : health().checks) {
      if (one.name == name) return one;
    }
    ADD_FAILURE() << "no check '" << name << "'";
    return {};
  }
  Result<int> run_health_command(std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"health", "--sysroot", path("sysroot"), "--esp",
                                          path("esp")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_command(arguments);
  }
};

TEST_F(HealthTest, AGoodDevice) {
  start_device();
  HealthReport report = health();
  EXPECT_TRUE(report.passed());
  EXPECT_EQ(report.checks.size(), built_in_checks().size());
  for (const CheckResult& one : report.checks) {
    EXPECT_EQ(one.outcome, Outcome::kOk) << one.name << ": " << one.output;
  }
}

TEST_F(HealthTest, OnlyRequiredChecksDecide) {
  start_device();
  add_program("local/health.d/advisory/50-fan", "echo slow; exit 1");
  EXPECT_TRUE(health().passed());
  EXPECT_EQ(check("50-fan").outcome, Outcome::kFailed);
  add_program("local/health.d/required/50-web", "echo down; exit 1");
  EXPECT_FALSE(health().passed());
}

TEST_F(HealthTest, TheOrder) {
  start_device();
  add_program("vendor/health.d/required/b", "exit 0");
  add_program("local/health.d/required/a", "exit 1");
  add_program("vendor/health.d/advisory/0", "exit 0");
  std::vector<std::string> names;
  for (const CheckResult& one : health().checks) names.push_back(one.name);
  EXPECT_THAT(names, ElementsAre("config", "sysroot", "esp", "var", "a", "b", "clock", "space",
                                 "systemd", "0"));
}

TEST_F(HealthTest, AFileReplacesABuiltInCheckOrLeavesItOut) {
  start_device();
  add_program("local/health.d/advisory/clock", "exit 9");
  EXPECT_EQ(check("clock").exit_status, 9);
  std::filesystem::create_symlink("/dev/null", path("local/health.d/advisory/space"));
  HealthReport report = health();
  EXPECT_EQ(report.checks.size(), built_in_checks().size() - 1);
}

TEST_F(HealthTest, AConfigurationThatCannotBeRead) {
  start_device();
  ASSERT_TRUE(make_directories(AT_FDCWD, path("local")));
  write("local/deploy.yaml", "kep: 2\n");
  CheckResult config = check("config");
  EXPECT_EQ(config.outcome, Outcome::kFailed);
  EXPECT_EQ(config.kind, CheckKind::kRequired);
  EXPECT_THAT(config.output, AllOf(HasSubstr("unknown key 'kep'"), HasSubstr("hint: did you")));
}

TEST_F(HealthTest, ASysrootThatCannotBeWritten) {
  CheckResult absent = check("sysroot");
  EXPECT_EQ(absent.outcome, Outcome::kFailed);
  EXPECT_THAT(absent.output, HasSubstr("holds no cfs sysroot"));
  EXPECT_FALSE(health().passed());
  start_device();
  Sysroot open = Sysroot::open(environment_, path("sysroot"), Access::kWrite).value();
  CheckResult busy = check("sysroot");
  EXPECT_EQ(busy.outcome, Outcome::kOk);
  EXPECT_THAT(busy.output, HasSubstr("another cfs-deploy"));
}

TEST_F(HealthTest, AReadOnlyFileSystemIsFound) {
  start_device();
  int status = in_own_mounts([&] {
    const std::string tmp = path("sysroot/cfs/tmp");
    if (::mount("none", tmp.c_str(), "tmpfs", MS_RDONLY, "") != 0) return 101;
    return check("sysroot").outcome == Outcome::kFailed ? 0 : 102;
  });
  EXPECT_EQ(status, 0);
}

TEST_F(HealthTest, WithoutTheBootLoadersEntriesNothingCanBeLeft) {
  start_device();
  std::filesystem::rename(path("esp"), path("away"));
  CheckResult esp = check("esp");
  EXPECT_EQ(esp.outcome, Outcome::kFailed);
  EXPECT_EQ(esp.kind, CheckKind::kRequired);
  std::filesystem::rename(path("away"), path("esp"));
  Sysroot open = Sysroot::open(environment_, path("sysroot"), Access::kWrite).value();
  EXPECT_EQ(check("esp").outcome, Outcome::kOk);
}

TEST_F(HealthTest, WhatIsShippedForVarMustHaveArrived) {
  start_device();
  environment_.root = path("root");
  ASSERT_TRUE(make_directories(AT_FDCWD, path("root/usr/share")));
  EXPECT_EQ(check("var").outcome, Outcome::kOk);
  ASSERT_TRUE(make_directories(AT_FDCWD, path("root/usr/share/factory/var/lib")));
  CheckResult var = check("var");
  EXPECT_EQ(var.outcome, Outcome::kFailed);
  EXPECT_EQ(var.kind, CheckKind::kRequired);
  EXPECT_THAT(var.output, HasSubstr("journalctl -u cfs-var"));
  ASSERT_DONE(run_command({"apply-var", "--sysroot", path("sysroot")}));
  EXPECT_EQ(check("var").outcome, Outcome::kOk);
  offer(second_release());
  ASSERT_DONE(update());
  reboot();
  EXPECT_EQ(check("var").outcome, Outcome::kFailed);
}

TEST_F(HealthTest, WhatNobodyRunsHasNotPassed) {
  start_device();
  for (const std::string directory : {"vendor/health.d", "local/health.d"}) {
    add_program(directory + "/10-direct", "exit 0");
    EXPECT_EQ(check("health.d").outcome, Outcome::kCannotRun);
    EXPECT_THAT(check("health.d").output, HasSubstr(directory + "/10-direct' is not run"));
    EXPECT_FALSE(health().passed());
    std::filesystem::remove(path(directory + "/10-direct"));
    add_program(directory + "/require/10-typo", "exit 0");
    EXPECT_THAT(check("health.d").output, HasSubstr(directory + "/require' is not run"));
    std::filesystem::remove_all(path(directory + "/require"));
    write(directory + "/README", "what these are");
    EXPECT_TRUE(health().passed());
  }
}

TEST_F(HealthTest, AClockThatIsTooEarly) {
  start_device();
  environment_.now = [] { return UnixTime{1000}; };
  CheckResult clock = check("clock");
  EXPECT_EQ(clock.outcome, Outcome::kFailed);
  EXPECT_THAT(clock.output, HasSubstr("1970-01-01T00:16:40Z"));
  EXPECT_TRUE(health().passed());
  set_booted("");
  EXPECT_EQ(check("clock").outcome, Outcome::kOk) << "no release of ours runs";
}

TEST_F(HealthTest, NoRoomForAnotherRelease) {
  start_device();
  const std::string file = "sysroot/cfs/releases/" + offered_.image.digest.hex() + "/release.json";
  release::ReleaseDescription large = release::parse_description(read(file)).value();
  for (release::ReleaseFile& one : large.files) {
    if (one.role == "uki") one.size_bytes = uint64_t{1} << 50;
  }
  write(file, release::serialise_description(large).value());
  CheckResult space = check("space");
  EXPECT_EQ(space.outcome, Outcome::kFailed);
  EXPECT_THAT(space.output, HasSubstr("the sysroot"));
  EXPECT_TRUE(health().passed());
}

TEST_F(HealthTest, FailedUnitsAreNamed) {
  start_device();
  add_program("systemctl",
              "test \"$2\" = --state=failed || exit 9\n"
              "echo 'a.service loaded failed failed A thing'; echo 'b.mount loaded failed failed'");
  CheckResult systemd = check("systemd");
  EXPECT_EQ(systemd.outcome, Outcome::kFailed);
  EXPECT_EQ(systemd.output, "failed units: a.service, b.mount");
  add_program("systemctl", "echo no bus >&2; exit 1");
  EXPECT_THAT(check("systemd").output, HasSubstr("systemctl does not answer: no bus"));
  EXPECT_TRUE(health().passed());
}

TEST_F(HealthTest, TheCommand) {
  start_device();
  Result<int> good = run_health_command();
  ASSERT_TRUE(good) << good.error().describe();
  EXPECT_EQ(*good, 0) << output_;
  EXPECT_THAT(output_, HasSubstr("ok          required  sysroot "));
  add_program("local/health.d/required/50-web", "echo the web is down; exit 3");
  Result<int> bad = run_health_command();
  ASSERT_TRUE(bad) << bad.error().describe();
  EXPECT_EQ(*bad, 1);
  EXPECT_THAT(output_, AllOf(HasSubstr("failed      required  50-web "),
                             HasSubstr("  exit status 3\n    the web is down\n")));
  ASSERT_TRUE(run_health_command({"--json"}));
  EXPECT_EQ(read("run/cfs/health.json"), output_);
  json::Value json = json::parse(output_, {}, "health").value();
  json::Reader reader(json, "health");
  EXPECT_FALSE(reader.member("passed")->boolean().value());
  EXPECT_EQ(reader.member("started")->integer().value(), static_cast<uint64_t>(environment_.now()));
  json::Reader web = reader.member("checks")->elements(100).value().at(4);
  EXPECT_EQ(web.member("name")->text(100).value(), "50-web");
  EXPECT_EQ(web.member("kind")->text(100).value(), "required");
  EXPECT_EQ(web.member("outcome")->text(100).value(), "failed");
  EXPECT_EQ(web.member("exit_status")->integer().value(), 3U);
  EXPECT_TRUE(web.member("signal")->value().is_null());
  EXPECT_EQ(web.member("output")->text(100).value(), "the web is down\n");
}

TEST_F(HealthTest, TheReportIsTheLinesOfItsChecks) {
  start_device();
  HealthReport report = health();
  std::string lines;
  for (const CheckResult& one : report.checks) lines += to_text(one);
  EXPECT_EQ(to_text(report), lines);
}

// A check that is added needs a row there; one that is removed leaves none.
TEST_F(HealthTest, TheDocumentHasEveryBuiltInCheck) {
  const std::string document = read_file(AT_FDCWD, "docs/HEALTH.md", 1 << 20).value();
  for (const BuiltInCheck& one : built_in_checks()) {
    EXPECT_THAT(document, HasSubstr(std::string("| `") + one.name + "` | " +
                                    std::string(kind_name(one.kind)) + " | " + one.meaning + " |"));
  }
  const std::string row = "\n| `";
  size_t rows = 0;
  for (size_t at = document.find(row); at != std::string::npos; at = document.find(row, at + 1)) {
    ++rows;
  }
  EXPECT_EQ(rows, built_in_checks().size());
}

}  // namespace
}  // namespace cfs::deployer
