// SPDX-License-Identifier: Apache-2.0
// A device on which any of the installed releases, all proven good, do not boot any more.
#include <set>

#include "deployer/sysroot/references.h"
#include "deployer/test_support.h"
#include "initramfs/other_deployment.h"

namespace cfs::power {
namespace {

using deployer::Deployment;
using deployer::DeploymentState;
using ::testing::StartsWith;

class RottenReleases : public deployer::DeviceTest, public ::testing::WithParamInterface<unsigned> {
 protected:
  /// Releases 1 to 3, each proven good; 3 runs, 1 is the recovery too.
  void install_three() {
    offer(deployer::first_release());
    ASSERT_DONE(init());
    install(1);
    ASSERT_DONE(command({"recovery", "set", reference("booted").substr(15)}));
    install(2);
    install(3);
  }
  void install(uint64_t number) {
    deployer::FakeRelease release = deployer::first_release();
    release.version = std::to_string(number);
    release.epoch = number;
    release.files["/usr/bin/new"] = deployer::random_text(300, number);
    digests_[release.version] = offer(release).image.digest;
    ASSERT_DONE(update());
    ASSERT_EQ(reboot_well(), release.version);
  }
  /// A boot of it as far as cfs-mount-root, which stops it, and asks the boot loader perhaps.
  void stop(const std::string& version) {
    std::string all;
    for (const std::string& name : names_in("esp/EFI/Linux")) all += name + '\0';
    set_variable("LoaderEntries", all);
    UniqueFd cfs = open_at(AT_FDCWD, path("sysroot/cfs"), O_RDONLY | O_DIRECTORY).value();
    ASSERT_TRUE(initramfs::leave_behind(cfs.get(), path("efivars"),
                                        {digests_.at(version), "image-digest", "rotten", {}}));
  }
  /// Returns what comes up; "": nothing does.
  std::string boot_until_up(const std::set<std::string>& rotten) {
    for (int boots = 0; boots < 12; ++boots) {
      const std::string version = reboot();
      if (!rotten.contains(version)) return version;
      stop(version);
    }
    return "";
  }
  deployer::Inventory inventory() {
    return deployer::read_inventory(
               deployer::Sysroot::open(environment_, path("sysroot"), deployer::Access::kRead)
                   .value())
        .value();
  }

  std::map<std::string, verity::Digest> digests_;
};

/// The parameter's bits: the recovery, the previous and the running one.
TEST_P(RottenReleases, AnyThatDoesBootIsFound) {
  install_three();
  std::set<std::string> rotten;
  for (unsigned bit = 0; bit < 3; ++bit) {
    if ((GetParam() >> bit & 1) != 0) rotten.insert(std::to_string(bit + 1));
  }
  const std::string wanted = !rotten.contains("3") ? "3" : !rotten.contains("2") ? "2" : "1";
  ASSERT_EQ(boot_until_up(rotten), wanted);
  ASSERT_DONE(command({"note-boot"}));
  EXPECT_THAT(status(), StartsWith("test " + wanted + " is running and boots next"));
  // What was given up for it is bad, and not tried again.
  for (const Deployment& one : inventory().deployments) {
    const bool was_tried = one.epoch >= std::stoul(wanted) && rotten.contains(one.version);
    EXPECT_EQ(one.state, was_tried ? DeploymentState::kBad : DeploymentState::kGood) << one.version;
  }
  ASSERT_EQ(reboot(), wanted);
  // Repaired, it takes what it had given up, when it is told to.
  ASSERT_DONE(command({"fsck", "--repair"}));
  if (wanted != "3") {
    ASSERT_DONE(update({"--retry"}));
    ASSERT_EQ(reboot_well(), "3");
  }
  ASSERT_DONE(command({"gc"}));
}

INSTANTIATE_TEST_SUITE_P(Subsets, RottenReleases, ::testing::Range(0U, 7U));

TEST_F(RottenReleases, WhenAllAreItGoesOnTrying) {
  install_three();
  ASSERT_EQ(boot_until_up({"1", "2", "3"}), "");
  EXPECT_NE(boot_until_up({"2", "3"}), "");
}

}  // namespace
}  // namespace cfs::power
