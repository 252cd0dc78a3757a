// SPDX-License-Identifier: Apache-2.0
#include "deployer/sysroot/etc.h"

#include "deployer/test_support.h"

namespace cfs::deployer {
namespace {

const std::string kA(64, 'a');
const std::string kB(64, 'b');

class EtcTest : public DeviceTest {
 protected:
  void SetUp() override { ASSERT_DONE(init()); }

  void home(const std::string& name, const std::vector<std::string>& files) {
    for (const std::string& file : files) {
      const std::filesystem::path place = path("sysroot/cfs/state/etc/" + name + "/" + file);
      std::filesystem::create_directories(place.parent_path());
      write("sysroot/cfs/state/etc/" + name + "/" + file, "x");
    }
  }
  void used_last(const std::string& name) {
    std::filesystem::create_symlink(name, path("sysroot/cfs/state/etc/last"));
  }
  std::vector<std::string> homes() {
    Result<std::vector<std::string>> names =
        list_directory(AT_FDCWD, path("sysroot/cfs/state/etc"));
    return names ? *names : std::vector<std::string>{"none"};
  }
  Sysroot sysroot() { return Sysroot::open(environment_, path("sysroot"), Access::kWrite).value(); }
};

TEST_F(EtcTest, ANewDeviceHasNone) {
  Sysroot device = sysroot();
  EXPECT_TRUE(forget_etc(device, verity::Digest::parse(kA).value()));
  EXPECT_TRUE(remove_unneeded_etc(device, {}, store::Removal::kRemove));
  EXPECT_THAT(etc_conflicts(device).value(), IsEmpty());
}

TEST_F(EtcTest, AnEarlierEtcIsForgotten) {
  for (const char* suffix : {".overlay", ".merge"}) {
    home(kA + suffix, {"upper/x", "tree/x"});
    home(kB + suffix, {"upper/x", "tree/x"});
  }
  home("kept", {"upper/machine-id"});
  home("something-else", {"x"});
  used_last(kA + ".merge");
  Sysroot device = sysroot();
  ASSERT_TRUE(forget_etc(device, verity::Digest::parse(kB).value()));
  EXPECT_THAT(homes(),
              ElementsAre(kA + ".merge", kA + ".overlay", "kept", "last", "something-else"));
  ASSERT_TRUE(forget_etc(device, verity::Digest::parse(kA).value()));
  EXPECT_THAT(homes(), ElementsAre(kA + ".merge", "kept", "last", "something-else"));
}

// Any of them may be the one that is mounted.
TEST_F(EtcTest, NothingIsRemovedWhileTheOneThatWasUsedLastIsNotKnown) {
  for (const std::string& image : {kA, kB}) home(image + ".merge", {"tree/x"});
  Sysroot device = sysroot();
  for (const char* last : {"", "nowhere", "..", "a file"}) {
    SCOPED_TRACE(last);
    std::filesystem::remove(path("sysroot/cfs/state/etc/last"));
    if (*last == 'a') write("sysroot/cfs/state/etc/last", last);
    if (*last == 'n' || *last == '.') used_last(last);
    EXPECT_TRUE(forget_etc(device, verity::Digest::parse(kA).value()));
    EXPECT_TRUE(remove_unneeded_etc(device, {}, store::Removal::kRemove));
    EXPECT_THAT(homes(), ::testing::IsSupersetOf({kA + ".merge", kB + ".merge"}));
    EXPECT_THAT(etc_conflicts(device).value(), IsEmpty());
  }
}

TEST_F(EtcTest, WhatNoReleaseNeedsIsRemoved) {
  const std::string c(64, 'c');
  for (const std::string& image : {kA, kB, c}) home(image + ".merge", {"tree/x"});
  used_last(kB + ".merge");
  Sysroot device = sysroot();
  ASSERT_TRUE(
      remove_unneeded_etc(device, {verity::Digest::parse(c).value()}, store::Removal::kRemove));
  EXPECT_THAT(homes(), ElementsAre(kB + ".merge", c + ".merge", "last"));
}

TEST_F(EtcTest, ConflictsAreFound) {
  home(kA + ".merge", {"tree/a", "tree/a.cfs-new", "tree/d/b.cfs-new", "tree/c.cfs-new/x",
                       "tree/.cfs-new", "base/z.cfs-new", "tree/e\x1b[1m.cfs-new"});
  used_last(kA + ".merge");
  EXPECT_THAT(etc_conflicts(sysroot()).value(),
              ElementsAre("/etc/a", "/etc/c", "/etc/d/b", "/etc/e?[1m"));
}

}  // namespace
}  // namespace cfs::deployer
