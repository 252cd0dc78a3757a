// SPDX-License-Identifier: Apache-2.0
#include "lib/sysroot/layout.h"

#include <gtest/gtest.h>

namespace cfs::sysroot {
namespace {

const std::string kHex = "ab" + std::string(62, '1');
const verity::Digest kDigest = verity::Digest::parse(kHex).value();

// These names are on devices: a change needs a new layout version.
TEST(Layout, PathsAreAsOnDevices) {
  EXPECT_EQ(object_path(kDigest), "objects/ab/" + std::string(62, '1'));
  EXPECT_EQ(image_path(kDigest), "images/" + kHex);
  EXPECT_EQ(image_target(kDigest), "../objects/ab/" + std::string(62, '1'));
  EXPECT_EQ(description_path(kDigest), "releases/" + kHex + "/release.json");
  verity::Sha256Digest uki = verity::Sha256Digest::parse(std::string(64, '2')).value();
  EXPECT_EQ(uki_path(kDigest, uki), "releases/" + kHex + "/" + std::string(64, '2') + ".efi");
  EXPECT_EQ(record_path("0123456789ab.0"), "deployments/0123456789ab.0/deployment.json");
  EXPECT_EQ(reference_path("booted"), "refs/booted");
  EXPECT_EQ(reference_target("0123456789ab.0"), "../deployments/0123456789ab.0");
  EXPECT_EQ(copy_path("meta.json"), "copies/meta.json");
  EXPECT_EQ(copy_path("trust/root.json"), "copies/root.json");
}

TEST(Layout, AnObjectIsKnownByItsPath) {
  EXPECT_EQ(object_of_path(object_path(kDigest)), kDigest);
  for (const std::string& path :
       {kDigest.object_path(), "/" + object_path(kDigest), "state/var/" + object_path(kDigest),
        "objects/.cfs/" + kDigest.object_path(), object_path(kDigest) + "/x", "objects/" + kHex,
        std::string("objects"), std::string()}) {
    EXPECT_EQ(object_of_path(path), std::nullopt) << path;
  }
}

TEST(Layout, NobodyButRootLooksInside) {
  EXPECT_EQ(mode_of("", true), 0700U);
  EXPECT_EQ(mode_of("objects/ab", true), 0755U);
  EXPECT_EQ(mode_of(object_path(kDigest), false), 0444U);
  EXPECT_EQ(mode_of("origin.json", false), 0600U);
  EXPECT_EQ(mode_of("copies/origin.json", false), 0600U);
  EXPECT_EQ(mode_of("lock", false), 0600U);
  EXPECT_EQ(mode_of("meta.json", false), 0644U);
  EXPECT_EQ(directories().size(), 10U);
}

}  // namespace
}  // namespace cfs::sysroot
