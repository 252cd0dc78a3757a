// SPDX-License-Identifier: Apache-2.0
#include "deployer/sysroot/running.h"

#include "deployer/test_support.h"
#include "lib/sysroot/layout.h"

namespace cfs::deployer {
namespace {

class RunningTest : public DeviceTest {};

TEST_F(RunningTest, AnotherReleaseOfTheSameImageIsNotTakenForTheOneThatRuns) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot_well(), "1");
  const std::string id = reference("booted").substr(15);
  FakeRelease same = first_release();  // only the kernel is another
  same.version = "2";
  same.epoch = 2;
  offer(same);
  ASSERT_DONE(update());
  write("sysroot/cfs/" + sysroot::record_path(id), "{");
  ASSERT_DONE(command({"note-boot"}));
  EXPECT_THAT(status(), Not(HasSubstr("test 2 is running")));
  EXPECT_THAT(status(), HasSubstr("staged    test 2"));
}

TEST_F(RunningTest, TwoReleasesOfOneImage) {
  release::ReleaseDescription one = offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot_well(), "1");
  FakeRelease same = first_release();  // only the kernel is another
  same.version = "2";
  same.epoch = 2;
  ASSERT_EQ(offer(same).image.digest, one.image.digest);
  ASSERT_DONE(update());
  EXPECT_THAT(names_in("esp/EFI/Linux"), testing::SizeIs(2));
  EXPECT_THAT(status(), AllOf(HasSubstr("booted    test 1"), HasSubstr("staged    test 2")));
  ASSERT_DONE(rollback());  // the update is given up
  EXPECT_THAT(boots_next(), StartsWith("cfs_1_"));
  EXPECT_THAT(status(), AllOf(HasSubstr("booted    test 1"), Not(HasSubstr("staged    "))));

  ASSERT_DONE(update({"--retry"}));
  ASSERT_EQ(reboot_well(), "2");
  EXPECT_THAT(status(), AllOf(HasSubstr("booted    test 2"), HasSubstr("previous  test 1")));
  expect_up_to_date("2");
  ASSERT_DONE(rollback());
  EXPECT_THAT(status(), AllOf(HasSubstr("booted    test 2"), HasSubstr("staged    test 1")));
  ASSERT_EQ(reboot_well(), "1");
  EXPECT_THAT(status(), AllOf(HasSubstr("booted    test 1"), HasSubstr("previous  test 2"),
                              Not(HasSubstr("staged    "))));

  // The same once more under the same version: an entry of its own.
  same.epoch = 3;
  offer(same);
  ASSERT_DONE(update());
  EXPECT_THAT(names_in("esp/EFI/Linux"), testing::SizeIs(2));  // who is not needed is removed
  ASSERT_EQ(reboot_well(), "2");
  EXPECT_THAT(status(), HasSubstr("booted    test 2 (epoch 3"));

  // Where no boot loader says what it started, what is known to have run runs still.
  ASSERT_DONE(rollback());
  const std::string note = "efivars/LoaderEntrySelected-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
  std::filesystem::remove(path(note));
  same.version = "4";
  same.epoch = 4;
  offer(same);
  ASSERT_DONE(update());
  EXPECT_THAT(status(),
              AllOf(HasSubstr("booted    test 2 (epoch 3"), HasSubstr("staged    test 4")));
  // Nor does an entry of another image count: it is what ran before a kexec.
  FakeRelease other = second_release();
  other.version = "5";
  other.epoch = 5;
  offer(other);
  ASSERT_DONE(update());
  set_selected_entry(boots_next());
  EXPECT_THAT(status(),
              AllOf(HasSubstr("booted    test 2 (epoch 3"), HasSubstr("staged    test 5")));
}

TEST_F(RunningTest, WhatWasCollectedIsNotThePreviousOne) {
  auto deployment = [](const std::string& version, uint64_t blessed) {
    return Deployment{.id = version,
                      .digest = verity::digest_of(as_bytes(version)),
                      .version = version,
                      .state = DeploymentState::kGood,
                      .blessed = blessed};
  };
  Inventory inventory{
      .deployments = {deployment("3", 30), deployment("2", 20), deployment("1", 10)}};
  inventory.deployments[1].collected = true;
  inventory.references.booted = inventory.deployments[0];
  const Running running{.image = inventory.deployments[0].digest};
  for (const Deployment& previous : {inventory.deployments[0], inventory.deployments[1]}) {
    inventory.references.previous = previous;
    EXPECT_EQ(references_now(inventory, running).previous->version, "1");
  }
}

}  // namespace
}  // namespace cfs::deployer
