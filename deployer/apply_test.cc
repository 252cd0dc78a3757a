// SPDX-License-Identifier: Apache-2.0
#include "deployer/apply.h"

#include "deployer/test_support.h"
#include "lib/boot/fake_boot_loader.h"
#include "lib/boot/test_programs.h"
#include "lib/sysroot/layout.h"

namespace cfs::deployer {
namespace {

class ApplyTest : public DeviceTest {};

TEST_F(ApplyTest, AUkiThatPinsAnotherImageIsRefused) {
  FakeRelease release = first_release();
  release.pin = std::string(64, 'a');
  offer(release);
  ASSERT_DONE(init());
  expect_exit(update(), 7, "does not pin");
  expect_nothing_installed();
}

TEST_F(ApplyTest, CutsBetweenTheStepsOfActivation) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot(), "1");
  const std::string old_conf = read("esp/loader/loader.conf");
  release::ReleaseDescription two = offer(second_release());
  ASSERT_DONE(update());
  const std::string entry = boots_next();
  const std::string file = "esp/EFI/Linux/" + entry + "+3.efi";

  // Undo the steps from the last to the first; after each, the next update does them again.
  const std::function<void()> undo[] = {
      [&] { write("esp/loader/loader.conf", old_conf); },
      [&] { std::filesystem::remove(path(file)); },
      [&] { std::filesystem::resize_file(path(file), 1000); },
      [&] { std::filesystem::remove(path("sysroot/cfs/refs/staged")); },
      [&] {
        std::filesystem::remove_all(
            path("sysroot/cfs/deployments/" + two.image.digest.hex().substr(0, 12) + ".0"));
      },
      [&] {
        std::filesystem::remove(
            path("sysroot/cfs/releases/" + two.image.digest.hex() + "/release.json"));
      },
      [&] { std::filesystem::remove(path("sysroot/cfs/images/" + two.image.digest.hex())); },
  };
  for (size_t steps = 1; steps <= std::size(undo); ++steps) {
    for (size_t i = 0; i < steps; ++i) {
      if (i == 2 || (i == 1 && steps == 3)) continue;  // removed or cut short, not both
      undo[i]();
    }
    if (steps == 3) undo[2]();
    EXPECT_THAT(boots_next(), StartsWith("cfs_1_"));
    server_.forget();
    ASSERT_DONE(update());
    EXPECT_EQ(server_.count("/obj/"), 0u);
    EXPECT_EQ(boots_next(), entry) << steps;
    EXPECT_THAT(names_in("sysroot/cfs/images"), testing::SizeIs(2));
    expect_up_to_date("2");
  }
  EXPECT_EQ(reboot(), "2");
}

TEST_F(ApplyTest, WhatIsFetchedAgainWaitsToo) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot_well(), "1");
  offer(second_release());
  // Given up before it ran, and after it has proven good.
  for (bool is_proven : {false, true}) {
    ASSERT_DONE(update({"--retry"}));
    if (is_proven) {
      ASSERT_EQ(reboot_well(), "2");
    }
    ASSERT_DONE(is_proven ? rollback() : command({"cancel"}));
    if (is_proven) {
      ASSERT_EQ(reboot_well(), "1");
    }
    ASSERT_DONE(command({"fetch", "--retry"}));
    ASSERT_DONE(command({"apply"}));
    EXPECT_THAT(boots_next(), StartsWith("cfs_2_"));
    ASSERT_DONE(command({"cancel"}));
  }
}

TEST_F(ApplyTest, AClockThatWentBackHidesNothing) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot_well(), "1");
  environment_.now = [] { return trust::FakeRepository::kNow - 3600; };
  offer(second_release());
  ASSERT_DONE(command({"fetch"}));
  ASSERT_DONE(command({"gc"}));
  ASSERT_DONE(command({"apply"}));
  EXPECT_THAT(boots_next(), StartsWith("cfs_2_"));
}

TEST_F(ApplyTest, ADamagedWayBackIsRepaired) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot_well(), "1");
  offer(second_release());
  ASSERT_DONE(command({"fetch"}));
  const verity::Digest object =
      verity::digest_of(as_bytes(first_release().files.at("/usr/bin/program3")));
  const std::string file = path("sysroot/cfs/" + sysroot::object_path(object));
  ASSERT_TRUE(std::filesystem::remove(file));
  ASSERT_DONE(command({"apply"}));
  EXPECT_THAT(output_, HasSubstr("repaired 1 (epoch 1), the way back"));
  EXPECT_TRUE(std::filesystem::exists(file));
  EXPECT_EQ(reboot(), "2");
}

TEST_F(ApplyTest, WhatWasFetchedWaitsUntilItIsApplied) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot_well(), "1");
  offer(second_release());
  expect_exit(command({"apply"}), 10, "nothing that was fetched");

  ASSERT_DONE(command({"fetch"}));
  EXPECT_THAT(output_, HasSubstr("fetched 2 (epoch 2)"));
  EXPECT_THAT(status(),
              AllOf(StartsWith("test 1 is running and boots next."), HasSubstr("  fetched\n")));
  server_.forget();
  Result<int> again = command({"fetch"});
  ASSERT_TRUE(again) << again.error().describe();
  EXPECT_EQ(*again, 10);
  EXPECT_THAT(output_, HasSubstr("fetched already: test 2"));
  EXPECT_EQ(server_.count("/obj/"), 0u);
  EXPECT_EQ(reboot_well(), "1");

  server_.forget();
  ASSERT_DONE(command({"apply"}));
  EXPECT_EQ(server_.count("/"), 0u);  // the repository is not asked
  EXPECT_THAT(status(), HasSubstr("; 2 boots next, with 3 tries left"));
  EXPECT_EQ(reboot_well(), "2");
  expect_exit(command({"apply"}), 10, "nothing that was fetched");
}

TEST_F(ApplyTest, WhatWasFetchedCanLoseAnObjectAndGetItBack) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot_well(), "1");
  FakeRelease release = second_release();
  release.files["/usr/lib/extra"] = random_text(5000, 77);
  offer(release);
  ASSERT_DONE(command({"fetch"}));
  const std::string object =
      "sysroot/cfs/objects/" +
      verity::digest_of(as_bytes(release.files["/usr/lib/extra"])).object_path();
  std::filesystem::remove(path(object));
  expect_exit(command({"apply"}), 1, "");
  EXPECT_THAT(boots_next(), StartsWith("cfs_1_"));
  ASSERT_DONE(command({"fetch"}));
  EXPECT_THAT(output_, HasSubstr("incomplete: 2"));
  ASSERT_DONE(command({"apply"}));
  EXPECT_EQ(reboot_well(), "2");
}

TEST_F(ApplyTest, WhatWasGivenUpIsFetchedAgainWhenAskedFor) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot_well(), "1");
  offer(second_release());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot(), "2");
  ASSERT_DONE(command({"mark-bad"}));
  ASSERT_EQ(reboot(), "1");
  Result<int> held = command({"fetch"});
  ASSERT_TRUE(held) << held.error().describe();
  EXPECT_EQ(*held, 10);
  expect_exit(command({"apply"}), 10, "nothing that was fetched");
  ASSERT_DONE(command({"fetch", "--retry"}));  // all of it is there still
  EXPECT_THAT(output_, HasSubstr("to fetch: 0 B"));
  ASSERT_DONE(command({"apply"}));
  EXPECT_EQ(reboot_well(), "2");
}

TEST_F(ApplyTest, NothingOlderThanWhatIsStagedIsApplied) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot_well(), "1");
  offer(second_release());
  ASSERT_DONE(command({"fetch"}));
  FakeRelease third = second_release();
  third.version = "3";
  third.epoch = 10;
  offer(third);
  ASSERT_DONE(update());
  expect_exit(command({"apply"}), 10, "nothing that was fetched");
  EXPECT_EQ(reboot_well(), "3");
}

TEST_F(ApplyTest, AnEntryThatWasCutShortIsNone) {
  boot::FakeBootLoader fake;
  const std::string hex(64, 'a');
  Deployment deployment{.digest = verity::Digest::parse(hex).value(), .entry = "cfs_1_x"};
  EXPECT_FALSE(has_whole_entry(fake, deployment).value());
  ASSERT_TRUE(
      write_file_atomically(AT_FDCWD, path("uki"), boot::make_test_uki("composefs.digest=" + hex)));
  UniqueFd uki = open_at(AT_FDCWD, path("uki"), O_RDONLY).value();
  ASSERT_TRUE(fake.install("cfs_1_x", uki.get(), {}));
  EXPECT_TRUE(has_whole_entry(fake, deployment).value());
  EXPECT_TRUE(cfs::deployer::boots_next(fake, deployment).value());  // nothing else is there
  ASSERT_TRUE(fake.set_next("cfs_1_x"));
  EXPECT_TRUE(cfs::deployer::boots_next(fake, deployment).value());
  fake.damage("cfs_1_x");
  EXPECT_FALSE(has_whole_entry(fake, deployment).value());
  EXPECT_FALSE(cfs::deployer::boots_next(fake, deployment).value());
}

}  // namespace
}  // namespace cfs::deployer
