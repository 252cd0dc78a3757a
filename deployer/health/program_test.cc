// SPDX-License-Identifier: Apache-2.0
#include "deployer/health/program.h"

#include <sys/stat.h>

#include "deployer/test_support.h"

namespace cfs::deployer {
namespace {

class CheckFileTest : public DeviceTest {
 protected:
  std::string add(const std::string& name, const std::string& content, mode_t mode = 0755) {
    const std::string file = "vendor/health.d/" + name;
    EXPECT_TRUE(
        make_directories(AT_FDCWD, std::filesystem::path(path(file)).parent_path().string()));
    write(file, content);
    EXPECT_EQ(::chmod(path(file).c_str(), mode), 0);
    return path(file);
  }
  CheckResult run_script(const std::string& content, mode_t mode = 0755) {
    return run_check_file({.name = "check", .path = add("required/check", content, mode)},
                          CheckKind::kRequired)
        .value();
  }
};

TEST_F(CheckFileTest, HowItEnds) {
  CheckResult good = run_script("#!/bin/sh\necho fine\n");
  EXPECT_EQ(good.outcome, Outcome::kOk);
  EXPECT_EQ(good.exit_status, 0);
  EXPECT_EQ(good.output, "fine\n");
  CheckResult failed = run_script("#!/bin/sh\necho out; echo err >&2; exit 7\n");
  EXPECT_EQ(failed.outcome, Outcome::kFailed);
  EXPECT_EQ(failed.exit_status, 7);
  EXPECT_EQ(failed.output, "out\nerr\n");
  CheckResult killed = run_script("#!/bin/sh\nkill -KILL $$\n");
  EXPECT_EQ(killed.outcome, Outcome::kFailed);
  EXPECT_EQ(killed.signal, 9);
  EXPECT_EQ(killed.exit_status, std::nullopt);
}

TEST_F(CheckFileTest, AScriptSaysHowLongItMayTake) {
  CheckResult slow = run_script("#!/bin/sh\n# cfs-health: timeout=1s\necho begun\nsleep 600\n");
  EXPECT_EQ(slow.outcome, Outcome::kTimedOut);
  EXPECT_EQ(slow.output, "begun\nno end within 1s\n");
  EXPECT_GE(slow.duration.count(), 1000);
  EXPECT_LT(slow.duration.count(), 30'000);
  for (const char* bad : {"timeout=1", "timeout=", "time=1s", "", "timeout=1s now"}) {
    CheckResult result = run_script(std::string("#!/bin/sh\n# cfs-health: ") + bad + "\nexit 0\n");
    EXPECT_EQ(result.outcome, Outcome::kCannotRun) << bad;
    EXPECT_NE(result.output, "") << bad;
  }
}

TEST_F(CheckFileTest, WhatCannotBeRunSaysWhy) {
  EXPECT_EQ(run_script("#!/bin/sh\nexit 0\n", 0644).outcome, Outcome::kCannotRun);
  EXPECT_EQ(run_script("no program\n").outcome, Outcome::kCannotRun);
  CheckResult result = run_script("#!/absent/interpreter\n");
  EXPECT_EQ(result.outcome, Outcome::kCannotRun);
  EXPECT_THAT(result.output, HasSubstr("cannot run '" + path("vendor")));
  std::filesystem::create_directory(path("directory"));
  EXPECT_EQ(run_check_file({.name = "d", .path = path("directory")}, CheckKind::kAdvisory)->outcome,
            Outcome::kCannotRun);
  EXPECT_EQ(run_check_file({.name = "a", .path = path("absent")}, CheckKind::kAdvisory)->outcome,
            Outcome::kCannotRun);
}

TEST_F(CheckFileTest, ItSeesNothingOfOurs) {
  ::setenv("SECRET", "x", 1);  // NOLINT(concurrency-mt-unsafe)
  CheckResult result =
      run_script("#!/bin/sh\npwd; echo ${SECRET:-none}; cat; ls /proc/self/fd | wc -l\n");
  ::unsetenv("SECRET");  // NOLINT(concurrency-mt-unsafe)
  EXPECT_EQ(result.output, "/\nnone\n4\n") << "0, 1, 2 and that of ls";
}

TEST_F(CheckFileTest, TheEndOfTheOutputIsKept) {
  CheckResult result = run_script("#!/bin/sh\nseq 5000; printf '\\033[1mlast\\377'\n");
  EXPECT_LE(result.output.size(), kMaxCheckOutputBytes + 10);
  EXPECT_TRUE(result.output.ends_with("5000\n?[1mlast\xef\xbf\xbd")) << result.output;
}

TEST_F(CheckFileTest, TheAdministratorsFilesComeInPlaceOfTheReleases) {
  add("required/10-a", "");
  add("required/20-b", "");
  add("required/30-c", "");
  add("required/.hidden", "");
  add("advisory/40-d", "");
  ASSERT_TRUE(make_directories(AT_FDCWD, path("local/health.d/required")));
  write("local/health.d/required/05-first", "");
  write("local/health.d/required/20-b", "");
  std::filesystem::create_symlink("/dev/null", path("local/health.d/required/30-c"));
  std::vector<CheckFile> files = find_check_files(environment_, CheckKind::kRequired).value();
  ASSERT_EQ(files.size(), 4U);
  EXPECT_EQ(files[0].path, path("local/health.d/required/05-first"));
  EXPECT_EQ(files[1].path, path("vendor/health.d/required/10-a"));
  EXPECT_EQ(files[2].path, path("local/health.d/required/20-b"));
  EXPECT_FALSE(files[2].is_masked);
  EXPECT_TRUE(files[3].is_masked);
  EXPECT_EQ(find_check_files(environment_, CheckKind::kAdvisory)->size(), 1U);
}

TEST_F(CheckFileTest, NoFolderIsNoCheck) {
  EXPECT_TRUE(find_check_files(environment_, CheckKind::kRequired)->empty());
}

}  // namespace
}  // namespace cfs::deployer
