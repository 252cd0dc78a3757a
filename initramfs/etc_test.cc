// SPDX-License-Identifier: Apache-2.0
#include "initramfs/etc.h"

#include "initramfs/etc_fixture.h"
#include "lib/base/run_until_change.h"
#include "lib/base/subprocess.h"

namespace cfs::initramfs {
namespace {

using kernel_cmdline::EtcMode;
using kernel_cmdline::RootPolicy;

const verity::Digest kOld = verity::Digest::parse(std::string(64, 'a')).value();
const verity::Digest kNew = verity::Digest::parse(std::string(64, 'b')).value();
const verity::Digest kThird = verity::Digest::parse(std::string(64, 'c')).value();

// A device that boots; what would be seen at /etc is shown without an overlay: of the upper layer
// alone.
class EtcState : public EtcTest {
 protected:
  EtcState() {
    make("cfs/tmp", {});
    make("cfs/state/etc", {});
    image(kOld, {{"machine-id", ""}, {"conf", "1"}, {"ssh/sshd_config", "1"}});
    image(kNew, {{"machine-id", ""}, {"conf", "2"}, {"ssh/sshd_config", "1"}, {"more", "2"}});
    image(kThird, {{"machine-id", ""}, {"conf", "3"}, {"ssh/sshd_config", "3"}});
  }

  void image(const verity::Digest& digest, const Files& files) { make(digest.hex(), files); }

  /// Boots an image; returns the path of what is changed by those who write to /etc.
  std::string boot(const verity::Digest& digest, EtcMode mode) {
    RootPolicy policy = kernel_cmdline::default_root_policy();
    policy.etc = mode;
    policy.keep.insert(policy.keep.end(), keep_.begin(), keep_.end());
    Result<Etc> etc = prepare_etc(Directory(open("cfs")), open(digest.hex()).get(), digest, policy);
    EXPECT_TRUE(etc) << etc.error().describe();
    if (!etc) return "";
    EXPECT_EQ(etc->tree.empty(), mode != EtcMode::kMerge);
    EXPECT_TRUE(etc->work.empty() || std::filesystem::is_empty(path("cfs/state/etc/" + etc->work)));
    return "cfs/state/etc/" + (etc->tree.empty() ? etc->upper : etc->tree);
  }

  void lose(const std::string& name) { std::filesystem::remove_all(path("cfs/state/etc/" + name)); }

  /// The name of the home in which `etc`, which boot() has returned, lies.
  static std::string home_name(const std::string& etc) {
    return std::filesystem::path(etc).parent_path().filename().string();
  }

  void begin_anew() { std::filesystem::remove_all(path("cfs/state/etc")); }

  std::vector<std::string> keep_;  ///< besides the identity
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

// Whatever lies there: the boot comes to an end, with the identity that the device has.
TEST_F(EtcState, LivesWithDamage) {
  for (EtcMode mode :
       {EtcMode::kMerge, EtcMode::kOverlay, EtcMode::kTransient, EtcMode::kReadOnly}) {
    for (const char* last : {"-> nowhere", "-> kept", "-> ..", "-> kept/upper", "-> /etc", "dir",
                             "a file", "d/a file", "missing"}) {
      for (const verity::Digest& next : {kOld, kNew}) {
        SCOPED_TRACE(last);
        begin_anew();
        Files kept = show(boot(kOld, mode));
        kept = {{"machine-id", kept.at("machine-id")}, {"ssh/ssh_host_key", "1"}};
        std::string etc = boot(kOld, mode);
        make(etc, {{"ssh/ssh_host_key", "1"}, {"conf", "mine"}});
        const bool is_forgotten = mode == EtcMode::kTransient || mode == EtcMode::kReadOnly;
        if (!is_forgotten) kept["conf"] = "mine";
        lose("last");
        const std::string what = last;
        if (what == "d/a file") {
          make("cfs/state/etc", {{"last/a file", "x"}});
        } else if (what != "missing") {
          make("cfs/state/etc", {{"last", what}});
        }
        for (int round = 0; round < 2; ++round) {
          const Files now = show(boot(next, mode));
          for (const auto& [name, content] : kept) EXPECT_EQ(now.at(name), content) << name;
          EXPECT_EQ(std::filesystem::read_symlink(path("cfs/state/etc/last")).string(),
                    home_name(boot(next, mode)));
        }
      }
    }
  }
  begin_anew();
  make("cfs/state/etc", {{"last", "-> kept"}, {"kept/upper", "-> ../../../../" + kOld.hex()}});
  EXPECT_EQ(show(boot(kOld, EtcMode::kTransient)).size(), 1U);
  EXPECT_EQ(show(kOld.hex()).at("conf"), "1");
}

TEST_F(EtcState, WithoutLastTheOneThatWasUsedLastIsTaken) {
  for (EtcMode mode : {EtcMode::kMerge, EtcMode::kOverlay}) {
    begin_anew();
    make(boot(kOld, mode), {{"conf", "early"}});
    make(boot(kNew, mode), {{"conf", "later"}});
    // A clock that was wrong once does not count.
    const timespec future[2] = {{.tv_sec = 5'000'000'000, .tv_nsec = 0},
                                {.tv_sec = 5'000'000'000, .tv_nsec = 0}};
    const std::string home = std::filesystem::path(path(boot(kNew, mode))).parent_path().string();
    ASSERT_EQ(::utimensat(AT_FDCWD, home.c_str(), future, 0), 0);
    make(boot(kOld, mode), {{"conf", "last"}, {"ssh/ssh_host_key", "last"}});
    lose("last");
    const Files now = show(boot(kThird, mode));
    EXPECT_EQ(now.at("conf"), "last");
    EXPECT_EQ(now.at("ssh/ssh_host_key"), "last");
  }
}

// Of the home itself: what is kept comes from the one that was used before it, if there is one.
TEST_F(EtcState, LivesWithADamagedHome) {
  for (EtcMode mode : {EtcMode::kMerge, EtcMode::kOverlay, EtcMode::kTransient}) {
    for (const char* what : {"content", "home", "missing"}) {
      SCOPED_TRACE(what);
      begin_anew();
      std::string etc = boot(kOld, mode);
      const std::string id = show(etc).at("machine-id");
      make(etc, {{"conf", "mine"}});
      etc = boot(kNew, mode);
      const std::string content = path(etc);
      const std::string home = std::filesystem::path(content).parent_path().string();
      std::filesystem::remove_all(*what == 'h' ? home : content);
      if (*what != 'm') std::ofstream(*what == 'h' ? home : content) << "x";
      const Files now = show(boot(kNew, mode));
      EXPECT_EQ(now.count("machine-id"), 1U);
      if (mode == EtcMode::kTransient) continue;
      EXPECT_EQ(now.at("machine-id"), id);
      EXPECT_EQ(now.at("conf"), "mine");
      EXPECT_EQ(show(boot(kNew, mode)), now);
    }
  }
}

// Without what the old release had, all is taken for the device's that the new one has not.
TEST_F(EtcState, AMergeWithoutItsBaseLosesNothing) {
  for (const char* what : {"missing", "a file"}) {
    begin_anew();
    std::string etc = boot(kOld, EtcMode::kMerge);
    const std::string id = show(etc).at("machine-id");
    make(etc, {{"conf", "mine"}, {"hosts", "mine"}});
    lose(kOld.hex() + ".merge/base");
    if (*what == 'a') make("cfs/state/etc", {{kOld.hex() + ".merge/base", what}});
    EXPECT_EQ(show(boot(kNew, EtcMode::kMerge)), (Files{{"machine-id", id},
                                                        {"conf", "mine"},
                                                        {"conf.cfs-new", "2"},
                                                        {"more", "2"},
                                                        {"hosts", "mine"},
                                                        {"ssh/sshd_config", "1"}}));
  }
}

// A layer has what the device has written; the image's own is below it.
TEST_F(EtcState, WhatIsKeptOfALayerDoesNotHideTheImagesOwn) {
  keep_ = {"/etc/app", "/etc/hostname", "/etc/sub/deep/*.conf"};
  for (const verity::Digest& digest : {kOld, kNew}) {
    make(digest.hex(), {{"app/defaults.conf", "image"},
                        {"app/more/x", "image"},
                        {"hostname", "image"},
                        {"sub/deep/a.conf", "image"}});
  }
  for (EtcMode mode : {EtcMode::kTransient, EtcMode::kOverlay, EtcMode::kReadOnly}) {
    begin_anew();
    const Files own = {{"app/device.conf", "mine"}, {"app/more/y", "mine"}};
    make(boot(kOld, mode), own);
    Files expected = show(kNew.hex());
    expected["machine-id"] = show(boot(kOld, mode)).at("machine-id");
    Files with_own = expected;
    with_own.insert(own.begin(), own.end());
    EXPECT_EQ(show(boot(kNew, EtcMode::kMerge)), with_own);
    // The same where a tree was made already, and something is kept no more.
    const std::string layer = boot(kOld, mode);
    for (const char* name : {"/app", "/hostname", "/sub"}) {
      std::filesystem::remove_all(path(layer + name));
    }
    EXPECT_EQ(show(boot(kNew, EtcMode::kMerge)), expected);
  }
}

// A release that is the first to keep something brings its own.
TEST_F(EtcState, WhatIsKeptBeginsAsTheReleaseHasIt) {
  make(kNew.hex(), {{"app/defaults.conf", "image"}});
  (void)boot(kOld, EtcMode::kMerge);
  keep_ = {"/etc/app", "/etc/hostname"};
  EXPECT_EQ(show(boot(kNew, EtcMode::kMerge)).at("app/defaults.conf"), "image");
}

// Cut off before any change that a boot makes, nothing is lost: the next boot, of either release,
// ends as if it had been the first.
TEST_F(EtcState, CutOffAnywhereItLosesNothing) {
  keep_ = {"/etc/app"};
  auto copy = [&](const std::string& from, const std::string& to) {
    std::filesystem::remove_all(path(to));
    EXPECT_TRUE(run_command({.arguments = {"cp", "-a", path(from), path(to)}}));
  };
  for (EtcMode mode : {EtcMode::kMerge, EtcMode::kOverlay, EtcMode::kTransient}) {
    for (const char* what :
         {"first boot", "first boot, last lost", "back", "back, last lost", "another mode"}) {
      SCOPED_TRACE(what);
      begin_anew();
      const Files own = {{"conf", "mine"}, {"ssh/ssh_host_key", "1"}, {"app/own", "1"}};
      make(boot(kOld, mode), own);
      const bool is_back = *what == 'b';
      if (is_back) {
        make(boot(kNew, mode), {{"ssh/ssh_host_key", "2"}, {"app/own", "2"}, {"more", "mine"}});
      }
      if (std::string(what).ends_with("lost")) lose("last");
      std::map<verity::Digest, EtcMode> modes = {{kOld, mode}, {kNew, mode}};
      if (*what == 'a') {
        modes[kNew] = mode == EtcMode::kMerge ? EtcMode::kTransient : EtcMode::kMerge;
      }
      copy("cfs", "start");
      std::map<verity::Digest, Files> expected;
      for (const verity::Digest& next : {kOld, kNew}) {
        copy("start", "cfs");
        expected[next] = show(boot(next, modes[next]));
        ASSERT_EQ(expected[next].at("app/own"), is_back ? "2" : "1");
      }
      const verity::Digest cut = is_back ? kOld : kNew;
      bool is_cut = true;
      for (unsigned n = 0; is_cut; ++n) {
        const verity::Digest next = n % 2 == 0 ? kOld : kNew;
        copy("start", "cfs");
        is_cut = run_until_change(n, [&] { (void)boot(cut, modes[cut]); });
        ASSERT_EQ(show(boot(next, modes[next])), expected[next]) << "before change " << n;
      }
    }
  }
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
  lose("last");
  make("memory without last", {});
  ASSERT_TRUE(
      prepare_etc_in_memory(cfs, open("memory without last").get(), image.get(), kOld, policy));
  EXPECT_EQ(show("memory without last"), kept);
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
