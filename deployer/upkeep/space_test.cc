// SPDX-License-Identifier: Apache-2.0
#include "deployer/upkeep/space.h"

#include "deployer/boot_order.h"
#include "deployer/fetch/plan.h"
#include "deployer/test_support.h"
#include "deployer/upkeep/gc.h"
#include "lib/sysroot/layout.h"

namespace cfs::deployer {
namespace {

class SpaceTest : public DeviceTest {
 protected:
  /// A release with a file of its own and one that all have.
  void install(uint64_t number) {
    FakeRelease release;
    release.version = std::to_string(number);
    release.epoch = number;
    release.files["/usr/bin/all"] = random_text(40'000, 1);
    release.files["/usr/bin/own"] = random_text(10'000 * number, 100 + number);
    offer(release);
    ASSERT_DONE(update());
    ASSERT_EQ(reboot_well(), release.version);
  }
  Space measure() {
    Sysroot sysroot = Sysroot::open(environment_, path("sysroot"), Access::kRead).value();
    inventory_ = read_inventory(sysroot).value();
    return measure_space(sysroot, inventory_.deployments, damaged_).value();
  }
  /// What a file takes whose size stands in the sysroot.
  uint64_t on_disk(const std::string& file) {
    return disk_usage_bytes(std::filesystem::file_size(path("sysroot/cfs/" + file)));
  }

  Inventory inventory_;
  std::vector<Damage> damaged_;
};

TEST_F(SpaceTest, WhatIsSharedAndWhatIsNot) {
  ASSERT_DONE(init());
  install(1);
  install(2);
  const Space space = measure();
  ASSERT_EQ(space.releases.size(), 2U);
  uint64_t unique = 0;
  for (const Deployment& one : inventory_.deployments) {
    const Space::Release& release = space.releases.at(one.id);
    const uint64_t image = on_disk(sysroot::object_path(one.digest));
    const uint64_t own = disk_usage_bytes(10'000 * one.epoch);
    const uint64_t uki = (std::filesystem::file_size(
                              path("sysroot/cfs/" + sysroot::uki_path(one.digest, *one.uki))) +
                          4095) /
                         4096 * 4096;
    EXPECT_EQ(release.unique_bytes, image + own + uki);
    EXPECT_EQ(release.bytes, release.unique_bytes + disk_usage_bytes(40'000));
    unique += image + own;
  }
  EXPECT_EQ(space.objects, 5U);
  EXPECT_EQ(space.shared_bytes, disk_usage_bytes(40'000));
  EXPECT_EQ(space.bytes, unique + space.shared_bytes);
  EXPECT_THAT(damaged_, IsEmpty());
}

TEST_F(SpaceTest, AnImageThatCannotBeReadIsDamaged) {
  ASSERT_DONE(init());
  install(1);
  install(2);
  Sysroot sysroot = Sysroot::open(environment_, path("sysroot"), Access::kRead).value();
  const Deployment one = read_inventory(sysroot).value().references.previous.value();
  std::filesystem::remove(path("sysroot/cfs/" + sysroot::object_path(one.digest)));
  const Space space = measure();
  EXPECT_EQ(space.releases.size(), 1U);
  ASSERT_EQ(damaged_.size(), 1U);
  EXPECT_EQ(damaged_[0].path, sysroot::object_path(one.digest));
}

}  // namespace
}  // namespace cfs::deployer
