// SPDX-License-Identifier: Apache-2.0
#include "deployer/sysroot/references.h"

#include <sys/stat.h>

#include "deployer/test_support.h"
#include "lib/json/canonical.h"
#include "lib/json/reader.h"

namespace cfs::deployer {
namespace {

class ReferencesTest : public DeviceTest {};

TEST_F(ReferencesTest, WhatIsNotADeploymentIsReportedAndLeftAlone) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot_well(), "1");
  ASSERT_DONE(run_command({"status", "--json", "--sysroot", path("sysroot")}));
  EXPECT_THAT(output_, HasSubstr("\"damaged\":[]"));
  expect_up_to_date("1");

  release::ReleaseDescription two = offer(second_release());
  const std::string deployments = "sysroot/cfs/deployments/";
  const std::string id = two.image.digest.hex().substr(0, 12);
  for (const char* name : {"alien", "text", "other-id", "fifo", "cut-off", "\x1b[31m\xff"}) {
    ASSERT_TRUE(make_directories(AT_FDCWD, path(deployments + name)));
  }
  ASSERT_TRUE(make_directories(AT_FDCWD, path(deployments + id + ".0/alien")));
  write(deployments + "alien/file", "of somebody");
  write(deployments + "stray", "a file");
  write(deployments + "text/deployment.json", "{\"schema\":");
  write(deployments + "\x1b[31m\xff/deployment.json", "");
  write(deployments + "other-id/deployment.json",
        json::to_canonical(to_json(Deployment{
            .id = "ab.0", .name = "test", .version = "1", .channel = "stable", .entry = "x"})));
  ASSERT_EQ(::mkfifo(path(deployments + "fifo/deployment.json").c_str(), 0600), 0);
  write(deployments + "cut-off/.cfs-tmp-0123456789abcdef", "{");
  std::filesystem::create_symlink("../deployments/gone", path("sysroot/cfs/refs/previous"));
  std::filesystem::create_directory(path("sysroot/cfs/refs/staged"));

  const std::string text = status();
  for (const char* reported :
       {"deployments/alien: the directory has no deployment.json", "deployments/stray: ",
        "deployments/text: ", "deployments/other-id: deployment.json belongs to 'ab.0'",
        "deployments/fifo: ", "deployments/?[31m?: ",
        "refs/previous: points to 'gone', which is not a deployment",
        "refs/staged: 'refs/staged' is not a symlink"}) {
    EXPECT_THAT(text, HasSubstr(std::string("damaged   ") + reported));
  }
  EXPECT_THAT(text, AllOf(HasSubstr("booted    test 1"), HasSubstr("deployments/" + id + ".0: "),
                          Not(HasSubstr("cut-off"))));
  ASSERT_DONE(run_command({"status", "--json", "--sysroot", path("sysroot")}));
  Result<json::Value> json = json::parse(output_, {}, "status");
  ASSERT_TRUE(json) << json.error().describe();
  EXPECT_EQ(json::Reader(*json, "status").member("damaged")->elements(100)->size(), 9u);

  std::filesystem::remove(path("sysroot/cfs/refs/staged"));
  expect_exit(rollback(), 1, "no earlier good deployment");
  // That of the release on offer may have said that it is held.
  Result<int> held = update();
  ASSERT_TRUE(held) << held.error().describe();
  EXPECT_EQ(*held, 10);
  EXPECT_THAT(output_, HasSubstr("held: test 2 (epoch 2), it was not proven healthy: its record"));
  ASSERT_DONE(update({"--retry"}));
  EXPECT_THAT(boots_next(), StartsWith("cfs_2_" + id + ".1"));
  ASSERT_EQ(reboot_well(), "2");
  ASSERT_DONE(rollback());
  EXPECT_EQ(reboot_well(), "1");
  EXPECT_EQ(read(deployments + "alien/file"), "of somebody");
  EXPECT_EQ(read(deployments + "text/deployment.json"), "{\"schema\":");
  EXPECT_THAT(names_in(deployments + id + ".0"), ElementsAre("alien"));
  EXPECT_THAT(names_in(deployments + "cut-off"), IsEmpty()) << "a killed process's temporary";
}

TEST_F(ReferencesTest, ADamagedRecordOfTheRunningSystemIsSurvived) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot_well(), "1");
  expect_up_to_date("1");
  const std::string record = "sysroot/cfs/" + reference("booted").substr(3) + "/deployment.json";
  write(record, "");
  EXPECT_THAT(status(), AllOf(HasSubstr("booted    none"), HasSubstr("damaged   deployments/"),
                              HasSubstr("damaged   refs/booted: points to")));
  offer(second_release());
  ASSERT_DONE(update());
  EXPECT_EQ(reboot_well(), "2");
  expect_up_to_date("2");
  EXPECT_THAT(status(), AllOf(HasSubstr("booted    test 2"), Not(HasSubstr("refs/booted:"))));
  EXPECT_THAT(read(record), StartsWith("{"));
}

}  // namespace
}  // namespace cfs::deployer
