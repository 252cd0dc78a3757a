// SPDX-License-Identifier: Apache-2.0
#include "initramfs/etc.h"

#include "initramfs/etc_fixture.h"

namespace cfs::initramfs {
namespace {

using kernel_cmdline::EtcMode;
using kernel_cmdline::RootPolicy;

const verity::Digest kOld = verity::Digest::parse(std::string(64, 'a')).value();
const verity::Digest kNew = verity::Digest::parse(std::string(64, 'b')).value();

// A device that boots; what would be seen at /etc is shown without an overlay: of the upper layer
// alone.
class EtcState : public EtcTest {
 protected:
  EtcState() {
    make("cfs/tmp", {});
    make("cfs/state/etc", {});
    image(kOld, {{"machine-id", ""}, {"conf", "1"}, {"ssh/sshd_config", "1"}});
    image(kNew, {{"machine-id", ""}, {"conf", "2"}, {"ssh/sshd_config", "1"}, {"more", "2"}});
  }

  void image(const verity::Digest& digest, const Files& files) { make(digest.hex(), files); }

  /// Boots an image; returns the path of what is changed by those who write to /etc.
  std::string boot(const verity::Digest& digest, EtcMode mode) {
    RootPolicy policy = kernel_cmdline::default_root_policy();
    policy.etc = mode;
    Result<Etc> etc = prepare_etc(Directory(open("cfs")), open(digest.hex()).get(), digest, policy);
    EXPECT_TRUE(etc) << etc.error().describe();
    if (!etc) return "";
    EXPECT_EQ(etc->tree.empty(), mode != EtcMode::kMerge);
    EXPECT_TRUE(etc->work.empty() || std::filesystem::is_empty(path("cfs/state/etc/" + etc->work)));
    return "cfs/state/etc/" + (etc->tree.empty() ? etc->upper : etc->tree);
  }
};

TEST_F(EtcState, TransientForgetsAllButWhatIsKept) {
  std::string etc = boot(kOld, EtcMode::kTransient);
  const Files first = show(etc);
  ASSERT_EQ(first.size(), 1U);
  const std::string id = first.at("machine-id");
  make(etc, {{"ssh/ssh_host_key", "k"}, {"conf", "changed"}});
  for (const verity::Digest& digest : {kOld, kNew, kNew}) {
    for (EtcMode mode : {EtcMode::kReadOnly, EtcMode::kTransient}) {
      etc = boot(digest, mode);
      EXPECT_EQ(show(etc), (Files{{"machine-id", id}, {"ssh/ssh_host_key", "k"}}));
      make(etc, {{"conf", "changed"}});
    }
  }
}

TEST_F(EtcState, OverlayIsCarriedForwardAndGoesBackWithTheRelease) {
  std::string etc = boot(kOld, EtcMode::kOverlay);
  const std::string id = show(etc).at("machine-id");
  make(etc, {{"conf", "mine"}, {"ssh/ssh_host_key", "1"}});
  const Files old = show(etc);
  EXPECT_EQ(show(boot(kOld, EtcMode::kOverlay)), old);
  etc = boot(kNew, EtcMode::kOverlay);
  EXPECT_EQ(show(etc), old);
  make(etc, {{"conf", "mine, later"}, {"added", "x"}, {"ssh/ssh_host_key", "2"}});
  // Back: the old release's /etc, with what is kept as it is now.
  etc = boot(kOld, EtcMode::kOverlay);
  EXPECT_EQ(show(etc), (Files{{"machine-id", id}, {"conf", "mine"}, {"ssh/ssh_host_key", "2"}}));
  etc = boot(kNew, EtcMode::kOverlay);
  EXPECT_EQ(
      show(etc),
      (Files{
          {"machine-id", id}, {"conf", "mine, later"}, {"added", "x"}, {"ssh/ssh_host_key", "2"}}));
}

TEST_F(EtcState, MergeBringsBothTogether) {
  std::string etc = boot(kOld, EtcMode::kMerge);
  const std::string id = show(etc).at("machine-id");
  EXPECT_EQ(show(etc), (Files{{"machine-id", id}, {"conf", "1"}, {"ssh/sshd_config", "1"}}));
  make(etc, {{"conf", "mine"}, {"hosts", "mine"}, {"ssh/ssh_host_key", "1"}});
  const Files old = show(etc);
  EXPECT_EQ(show(boot(kOld, EtcMode::kMerge)), old);
  etc = boot(kNew, EtcMode::kMerge);
  const Files merged = {
      {"machine-id", id}, {"conf", "mine"},         {"conf.cfs-new", "2"},    {"more", "2"},
      {"hosts", "mine"},  {"ssh/sshd_config", "1"}, {"ssh/ssh_host_key", "1"}};
  EXPECT_EQ(show(etc), merged);
  EXPECT_EQ(show(boot(kOld, EtcMode::kMerge)), old);
  EXPECT_EQ(show(boot(kNew, EtcMode::kMerge)), merged);
}

TEST_F(EtcState, WhatIsKeptGoesThroughAllModes) {
  std::string etc = boot(kOld, EtcMode::kTransient);
  const std::string id = show(etc).at("machine-id");
  make(etc, {{"ssh/ssh_host_key", "1"}});
  for (EtcMode mode : {EtcMode::kMerge, EtcMode::kOverlay, EtcMode::kReadOnly, EtcMode::kMerge,
                       EtcMode::kTransient, EtcMode::kOverlay, EtcMode::kTransient}) {
    etc = boot(kOld, mode);
    EXPECT_EQ(show(etc).at("machine-id"), id);
    EXPECT_EQ(show(etc).at("ssh/ssh_host_key"), "1");
  }
}

// Whatever lies there: the boot comes to an end, with an identity.
TEST_F(EtcState, LivesWithDamage) {
  for (EtcMode mode : {EtcMode::kMerge, EtcMode::kOverlay, EtcMode::kTransient}) {
    for (const char* last : {"nowhere", "kept", "..", "kept/upper", "/etc"}) {
      std::filesystem::remove_all(path("cfs/state/etc"));
      make("cfs/state/etc", {{"last", std::string("-> ") + last}});
      EXPECT_EQ(show(boot(kOld, mode)).count("machine-id"), 1U) << last;
      EXPECT_EQ(show(boot(kOld, mode)).count("machine-id"), 1U) << last;
    }
  }
  std::filesystem::remove_all(path("cfs/state/etc"));
  make("cfs/state/etc", {{"last", "-> kept"}, {"kept/upper", "-> ../../../../" + kOld.hex()}});
  EXPECT_EQ(show(boot(kOld, EtcMode::kTransient)).size(), 1U);
  EXPECT_EQ(show(kOld.hex()).at("conf"), "1");
}

TEST_F(EtcState, AReadOnlyDiskGivesWhatItHas) {
  std::string etc = boot(kOld, EtcMode::kTransient);
  make(etc, {{"ssh/ssh_host_key", "1"}, {"conf", "changed"}});
  Files kept = show(etc);
  kept.erase("conf");
  Directory cfs(open("cfs"));
  RootPolicy policy = kernel_cmdline::default_root_policy();
  make("memory", {});
  UniqueFd image = open(kOld.hex());
  EXPECT_EQ(prepare_etc_in_memory(cfs, open("memory").get(), image.get(), kOld, policy).value(),
            "");
  EXPECT_EQ(show("memory"), kept);
  for (EtcMode mode : {EtcMode::kMerge, EtcMode::kOverlay}) {
    policy.etc = mode;
    EXPECT_FALSE(prepare_etc_in_memory(cfs, open("memory").get(), image.get(), kOld, policy));
    const std::string home = boot(kOld, mode);
    EXPECT_EQ(
        "cfs/state/etc/" +
            prepare_etc_in_memory(cfs, open("memory").get(), image.get(), kOld, policy).value(),
        home);
  }
}

TEST_F(EtcState, IsDiscarded) {
  const std::vector<std::vector<std::string>> keep = {kernel_cmdline::default_root_policy().keep,
                                                      {}};
  for (EtcMode mode : {EtcMode::kTransient, EtcMode::kMerge}) {
    std::string etc = boot(kOld, mode);
    const std::string id = show(etc).at("machine-id");
    make(etc, {{"conf", "mine"}, {"ssh/ssh_host_key", "1"}});
    ASSERT_TRUE(discard_etc(Directory(open("cfs")), open(kOld.hex()).get(), keep[0]));
    EXPECT_TRUE(std::filesystem::is_empty(path("cfs/tmp")));
    Files expected = {{"machine-id", id}, {"ssh/ssh_host_key", "1"}};
    if (mode == EtcMode::kMerge) expected.merge(Files{{"conf", "1"}, {"ssh/sshd_config", "1"}});
    EXPECT_EQ(show(boot(kOld, mode)), expected);
    ASSERT_TRUE(discard_etc(Directory(open("cfs")), open(kOld.hex()).get(), keep[1]));
    const Files after = show(boot(kOld, mode));
    EXPECT_NE(after.at("machine-id"), id);
    EXPECT_FALSE(after.contains("ssh/ssh_host_key"));
  }
}

}  // namespace
}  // namespace cfs::initramfs
