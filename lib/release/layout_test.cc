// SPDX-License-Identifier: Apache-2.0
#include "lib/release/layout.h"

#include <gtest/gtest.h>

namespace cfs::release {
namespace {

TEST(LayoutTest, PathsOfTheFormatsDocument) {
  std::string hex = "ab" + std::string(62, '1');
  verity::Digest digest = *verity::Digest::parse(hex);
  EXPECT_EQ(metadata_path("root", 3), "metadata/3.root.json");
  EXPECT_EQ(target_path(hex, "a_1.efi"), "targets/" + hex + ".a_1.efi");
  EXPECT_EQ(target_path(hex, "a/b.d/c_1"), "targets/a/b.d/" + hex + ".c_1");
  EXPECT_EQ(transport_path(digest), "rel/" + hex + "/manifest");
  EXPECT_EQ(encoded_object_path(digest), "obj/ab/" + std::string(62, '1') + ".zst");
  EXPECT_EQ(release_target_name("debian", "1~2"), "debian_1~2.release.json");
}

}  // namespace
}  // namespace cfs::release
