// SPDX-License-Identifier: Apache-2.0
#include "initramfs/kept.h"

#include <sys/xattr.h>

#include "initramfs/etc_fixture.h"
#include "lib/kernel_cmdline/root_policy.h"

namespace cfs::initramfs {
namespace {

using ::testing::MatchesRegex;

const KeepList kKeep = {"/etc/machine-id", "/etc/ssh/ssh_host_*", "/etc/nm/connections"};

constexpr const char* kOpaque = "trusted.overlay.opaque";

class Kept : public EtcTest {
 protected:
  [[nodiscard]] Result<> carry() const {
    UniqueFd from = open("from");
    UniqueFd to = open("to");
    return carry_kept({from.get(), from_}, {to.get(), to_}, open("image").get(), kKeep);
  }

  EtcForm from_ = EtcForm::kTree;
  EtcForm to_ = EtcForm::kTree;
};

TEST_F(Kept, IsCarriedOver) {
  make("image", {{"ssh/sshd_config", "image"}});
  ASSERT_EQ(::chmod(path("image/ssh").c_str(), 0711), 0);
  make("from", {{"machine-id", "id"},
                {"hostname", "x"},
                {"ssh/ssh_host_rsa_key", "k"},
                {"ssh/sshd_config", "changed"},
                {"nm/connections/a/b", "c"},
                {"nm/other", "o"}});
  make("to", {});
  const Files kept = {
      {"machine-id", "id"}, {"ssh/ssh_host_rsa_key", "k"}, {"nm/connections/a/b", "c"}};
  ASSERT_TRUE(carry());
  EXPECT_EQ(show("to"), kept);
  struct stat status = {};
  ASSERT_EQ(::stat(path("to/ssh").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0711U);
  ASSERT_TRUE(carry());
  EXPECT_EQ(show("to"), kept);
}

TEST_F(Kept, ReplacesWhatIsThere) {
  make("image", {});
  make("from", {{"ssh/ssh_host_b", "new"}, {"nm/connections/x", "1"}});
  make("to", {{"machine-id", "old"},
              {"ssh/ssh_host_a", "old"},
              {"ssh/ssh_host_b", "old"},
              {"ssh/sshd_config", "own"},
              {"nm/connections/y", "2"},
              {"hostname", "own"}});
  ASSERT_TRUE(carry());
  EXPECT_EQ(show("to"), (Files{{"ssh/ssh_host_b", "new"},
                               {"ssh/sshd_config", "own"},
                               {"nm/connections/x", "1"},
                               {"hostname", "own"}}));
}

// What lies on the disk must not lead elsewhere.
TEST_F(Kept, FollowsNoSymlink) {
  make("image", {});
  make("elsewhere", {{"ssh_host_a", "secret"}});
  make("from", {{"ssh", "-> ../elsewhere"}, {"machine-id", "-> /etc/shadow"}});
  make("to", {{"nm", "-> ../elsewhere"}});
  ASSERT_TRUE(carry());
  EXPECT_EQ(show("to"), (Files{{"machine-id", "-> /etc/shadow"}, {"nm", "-> ../elsewhere"}}));
  EXPECT_EQ(show("elsewhere"), (Files{{"ssh_host_a", "secret"}}));
}

// As the overlay shows it. Where the test may not make marks, without them.
TEST_F(Kept, IsLaidOverTheImagesOwnWhenATreeFollowsALayer) {
  from_ = EtcForm::kLayer;
  make("image", {{"nm/connections/image", "i"},
                 {"nm/connections/changed", "i"},
                 {"nm/connections/gone", "i"},
                 {"nm/connections/d/image", "i"},
                 {"nm/connections/opaque/image", "i"},
                 {"nm/connections/file/x", "i"},
                 {"nm/connections/dir", "i"},
                 {"ssh/ssh_host_image", "i"},
                 {"ssh/ssh_host_gone", "i"},
                 {"machine-id", "i"}});
  make("from", {{"nm/connections/changed", "d"},
                {"nm/connections/d/own", "d"},
                {"nm/connections/opaque/own", "d"},
                {"nm/connections/file", "d"},
                {"nm/connections/dir/own", "d"},
                {"ssh/ssh_host_own", "d"}});
  ASSERT_EQ(::chmod(path("from/nm/connections").c_str(), 0700), 0);
  make("to", {{"nm/connections/of an earlier time", "x"}, {"ssh/ssh_host_early", "x"}});
  Files expected = {{"nm/connections/image", "i"},
                    {"nm/connections/changed", "d"},
                    {"nm/connections/gone", "i"},
                    {"nm/connections/d/image", "i"},
                    {"nm/connections/d/own", "d"},
                    {"nm/connections/opaque/image", "i"},
                    {"nm/connections/opaque/own", "d"},
                    {"nm/connections/file", "d"},
                    {"nm/connections/dir/own", "d"},
                    {"ssh/ssh_host_image", "i"},
                    {"ssh/ssh_host_gone", "i"},
                    {"ssh/ssh_host_own", "d"},
                    {"machine-id", "i"}};
  const bool is_root =
      ::mknod(path("from/nm/connections/gone").c_str(), S_IFCHR, 0) == 0 &&
      ::mknod(path("from/ssh/ssh_host_gone").c_str(), S_IFCHR, 0) == 0 &&
      ::setxattr(path("from/nm/connections/opaque").c_str(), kOpaque, "y", 1, 0) == 0;
  RecordProperty("is_root", is_root ? 1 : 0);
  if (is_root) {
    expected.erase("nm/connections/gone");
    expected.erase("ssh/ssh_host_gone");
    expected.erase("nm/connections/opaque/image");
  }
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(carry());
    EXPECT_EQ(show("to"), expected);
  }
  struct stat status = {};
  ASSERT_EQ(::stat(path("to/nm/connections").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0700U);
  if (!is_root) return;
  // A directory above that hides what is below it.
  ASSERT_EQ(::setxattr(path("from/ssh").c_str(), kOpaque, "y", 1, 0), 0);
  std::filesystem::remove_all(path("from/nm"));
  ASSERT_EQ(::mknod(path("from/nm").c_str(), S_IFCHR, 0), 0);
  ASSERT_TRUE(carry());
  EXPECT_EQ(show("to"), (Files{{"nm", "dir"}, {"ssh/ssh_host_own", "d"}, {"machine-id", "i"}}));
}

// What the device has removed from its tree does not come back from below.
TEST_F(Kept, HidesTheImagesOwnWhenALayerFollowsATree) {
  to_ = EtcForm::kLayer;
  make("image", {{"nm/connections/image", "i"}});
  make("from", {{"nm/connections/own", "d"}, {"machine-id", "id"}});
  make("to", {});
  make("probe", {});
  if (::setxattr(path("probe").c_str(), kOpaque, "y", 1, 0) != 0) return;  // not root
  ASSERT_TRUE(carry());
  EXPECT_EQ(show("to"), show("from"));
  char value[2];
  EXPECT_EQ(::getxattr(path("to/nm/connections").c_str(), kOpaque, value, 2), 1);
  EXPECT_LT(::getxattr(path("to/nm").c_str(), kOpaque, value, 2), 0);
}

TEST_F(Kept, AllElseIsRemoved) {
  make("image", {{"ssh/sshd_config", "image"}, {"nm", "dir"}});
  make("upper", {{"machine-id", "id"},
                 {"passwd", "x"},
                 {"cron.d/evil", "x"},
                 {"ssh/ssh_host_a", "k"},
                 {"ssh/sshd_config", "x"},
                 {"ssh/d/e", "x"},
                 {"nm/connections/c", "1"},
                 {"nm/x", "1"},
                 {"machine-id.d/x", "1"}});
  ASSERT_EQ(::chmod(path("upper").c_str(), 0777), 0);
  ASSERT_EQ(::chmod(path("upper/ssh").c_str(), 0777), 0);
  (void)::setxattr(path("upper/ssh").c_str(), "trusted.overlay.opaque", "y", 1, 0);
  ASSERT_TRUE(remove_all_but_kept(open("upper").get(), open("image").get(), kKeep));
  EXPECT_EQ(show("upper"),
            (Files{{"machine-id", "id"}, {"ssh/ssh_host_a", "k"}, {"nm/connections/c", "1"}}));
  for (const char* name : {"", "/ssh"}) {
    struct stat is = {};
    struct stat shall = {};
    ASSERT_EQ(::stat(path(std::string("upper") + name).c_str(), &is), 0);
    ASSERT_EQ(::stat(path(std::string("image") + name).c_str(), &shall), 0);
    EXPECT_EQ(is.st_mode, shall.st_mode) << name;
  }
  char value[2];
  EXPECT_LT(::getxattr(path("upper/ssh").c_str(), "trusted.overlay.opaque", value, 2), 0);
}

TEST_F(Kept, RemovesASymlinkInThePlaceOfADirectory) {
  make("image", {{"ssh/sshd_config", "image"}});
  make("elsewhere", {{"x", "1"}});
  make("upper", {{"ssh", "-> ../elsewhere"}});
  ASSERT_TRUE(remove_all_but_kept(open("upper").get(), open("image").get(), kKeep));
  EXPECT_EQ(show("upper"), Files());
  EXPECT_EQ(show("elsewhere"), (Files{{"x", "1"}}));
}

class MachineId : public EtcTest {
 protected:
  Result<bool> ensure() { return ensure_machine_id(open("etc").get(), open("image").get()); }
};

TEST_F(MachineId, IsMadeOnce) {
  make("image", {{"machine-id", ""}});
  make("etc", {});
  EXPECT_TRUE(ensure().value());
  std::string id = show("etc").at("machine-id");
  EXPECT_THAT(id, MatchesRegex("[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}\n"));
  struct stat status = {};
  ASSERT_EQ(::stat(path("etc/machine-id").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0444U);
  EXPECT_FALSE(ensure().value());
  EXPECT_EQ(show("etc").at("machine-id"), id);
  make("other", {});
  ASSERT_TRUE(ensure_machine_id(open("other").get(), open("image").get()).value());
  EXPECT_NE(show("other").at("machine-id"), id);
}

// Torn, of another form, or not a file: systemd would make one of its own for each boot.
TEST_F(MachineId, IsMadeAnewWhenItIsNone) {
  make("image", {});
  for (const std::string& bad :
       {std::string(), std::string("uninitialized\n"), std::string(31, '1') + "\n",
        std::string(33, '1'), std::string(32, '0') + "\n", std::string(32, 'g') + "\n",
        std::string(32, '\0'), std::string("-> /etc/hostname"), std::string("dir")}) {
    std::filesystem::remove_all(path("etc"));
    make("etc", {{"machine-id", bad}});
    EXPECT_TRUE(ensure().value()) << bad;
    EXPECT_FALSE(ensure().value()) << bad;
  }
  for (const std::string& good : {std::string(32, '1'), std::string(32, 'f') + "\n"}) {
    std::filesystem::remove_all(path("etc"));
    make("etc", {{"machine-id", good}});
    EXPECT_FALSE(ensure().value()) << good;
  }
}

TEST_F(MachineId, IsTheImagesWhereThatLeadsElsewhere) {
  make("image", {{"machine-id", "-> /var/lib/dbus/machine-id"}});
  make("etc", {});
  EXPECT_FALSE(ensure().value());
  EXPECT_EQ(show("etc"), Files());
}

}  // namespace
}  // namespace cfs::initramfs
