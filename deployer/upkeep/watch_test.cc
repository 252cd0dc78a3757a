// SPDX-License-Identifier: Apache-2.0
#include "deployer/upkeep/watch.h"

#include "deployer/test_support.h"
#include "lib/sysroot/layout.h"

namespace cfs::deployer {
namespace {

class WatchTest : public DeviceTest {
 protected:
  void prepare() {
    environment_.systemctl = path("systemctl");
    write("systemctl", "#!/bin/sh\necho \"$@\" > " + path("asked") + "\n");
    std::filesystem::permissions(path("systemctl"), std::filesystem::perms::owner_all);
    offer(first_release());
    ASSERT_DONE(init());
    ASSERT_DONE(update());
    write("drop_caches", "");
    file_ = path("sysroot/cfs/" + sysroot::object_path(object_));
    damage();
  }
  void damage() {
    std::string content = read_file(AT_FDCWD, file_, 1 << 20).value();
    content[100] = content[100] == 'x' ? 'y' : 'x';
    ASSERT_TRUE(write_file_atomically(AT_FDCWD, file_, as_bytes(content)));
  }
  [[nodiscard]] std::string inode_line() const {
    struct stat status = stat_at(AT_FDCWD, file_, 0).value();
    return "3,1,1,-;fs-verity (vda2, inode " + std::to_string(status.st_ino) +
           "): FILE CORRUPTED! pos=0, level=-1\n";
  }
  [[nodiscard]] std::string name_line() const {
    return "4,2,1,-;overlayfs: lower file '" + object_.hex().substr(2) +
           "' has the wrong fs-verity digest\n";
  }
  void watch(const std::string& log) {
    write("kmsg", "6,0,0,-;Linux version 6.12\n" + log);
    ASSERT_DONE(run_command({"watch", "--sysroot", path("sysroot")}));
  }
  [[nodiscard]] bool is_right() const {
    return verity::digest_of(as_bytes(read_file(AT_FDCWD, file_, 1 << 20).value())) == object_;
  }

  verity::Digest object_ =
      verity::digest_of(as_bytes(first_release().files.at("/usr/bin/program7")));
  std::string file_;
};

TEST_F(WatchTest, RepairsWhatFsVerityComplainsOf) {
  prepare();
  watch(inode_line() + inode_line() + name_line());
  EXPECT_TRUE(is_right());
  EXPECT_EQ(read("drop_caches"), "2");
  EXPECT_THAT(output_, HasSubstr("    /usr/bin/program7 in test 1 (epoch 1)\n"));
  EXPECT_EQ(output_.find("is repaired"), output_.rfind("is repaired")) << output_;
}

TEST_F(WatchTest, RepairsWhatOverlayfsComplainsOf) {
  prepare();
  watch(name_line());
  EXPECT_TRUE(is_right());
}

TEST_F(WatchTest, RepairsWhatIsMissing) {
  prepare();
  ASSERT_TRUE(std::filesystem::remove(file_));
  watch(
      "4,2,1,-;overlayfs: lazy lowerdata lookup failed (bin/program17, err=-2)\n"
      "4,3,1,-;overlayfs: lazy lowerdata lookup failed (bin/program7, err=-2)\n");
  EXPECT_TRUE(is_right());
  EXPECT_THAT(output_, HasSubstr("    /usr/bin/program7 in test 1 (epoch 1)\n"));
  EXPECT_EQ(output_.find("program17"), std::string::npos) << output_;
}

TEST_F(WatchTest, RepairsAnImageAndThenWhatOnlyItKnows) {
  prepare();
  const std::string image = path("sysroot/cfs/" + sysroot::object_path(offered_.image.digest));
  std::string content = read_file(AT_FDCWD, image, 1 << 20).value();
  content.back() = static_cast<char>(content.back() ^ 1);
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, image, as_bytes(content)));
  ASSERT_EQ(::chmod(image.c_str(), 0444), 0);
  watch(name_line() + "4,2,1,-;overlayfs: lower file '" + offered_.image.digest.hex().substr(2) +
        "' has no fs-verity digest\n");
  EXPECT_TRUE(is_right());
  EXPECT_EQ(verity::digest_of(as_bytes(read_file(AT_FDCWD, image, 1 << 20).value())),
            offered_.image.digest);
  EXPECT_THAT(output_, HasSubstr("    the image of test 1 (epoch 1)\n"));
}

TEST_F(WatchTest, LeavesOthersAlone) {
  prepare();
  watch("3,1,1,-;fs-verity (vda2, inode 1): FILE CORRUPTED!\n");
  EXPECT_FALSE(is_right());
  EXPECT_EQ(output_, "");
}

TEST_F(WatchTest, AnObjectThatReadsWellIsNotFetched) {
  prepare();
  watch(name_line());
  fault_ = [](const Request&, Response& response) { response.status = 503; };
  watch(name_line());
  EXPECT_THAT(output_, HasSubstr("is right by now"));
}

TEST_F(WatchTest, PausesGrowUntilTheNetworkIsBack) {
  prepare();
  environment_.print = [](std::string_view) {};
  fault_ = [](const Request&, Response& response) { response.status = 503; };
  Watcher watcher(path("sysroot"), environment_);
  ASSERT_TRUE(watcher.hear(name_line()));
  for (int minutes : {2, 4, 8, 16, 32, 60, 60}) {
    Result<size_t> repaired = watcher.mend();
    ASSERT_TRUE(repaired) << repaired.error().describe();
    EXPECT_EQ(*repaired, 0U);
    EXPECT_EQ(watcher.pause(), std::chrono::minutes(minutes));
  }
  fault_ = [](const Request&, Response&) {};
  ASSERT_TRUE(watcher.mend());
  EXPECT_TRUE(watcher.is_idle());
  EXPECT_TRUE(is_right());
}

TEST_F(WatchTest, RestartsWhenTheCommandLineSaysSo) {
  prepare();
  watch(name_line());
  EXPECT_FALSE(std::filesystem::exists(path("asked")));
  damage();
  write("cmdline", "quiet cfs.on_corruption=reboot\n");
  watch(name_line());
  EXPECT_TRUE(is_right());
  EXPECT_EQ(read("asked"), "reboot\n");
}

TEST_F(WatchTest, TheCommandLineOnlyTightensTheConfiguration) {
  prepare();
  ASSERT_TRUE(make_directories(AT_FDCWD, path("vendor")));
  write("vendor/deploy.yaml", "on_corruption: reboot\n");
  write("cmdline", "quiet cfs.on_corruption=report\n");
  watch(name_line());
  EXPECT_EQ(read("asked"), "reboot\n");
}

// A reboot would change nothing, and be followed by the next one.
TEST_F(WatchTest, DoesNotRestartBeforeAllIsRepaired) {
  prepare();
  write("cmdline", "quiet cfs.on_corruption=reboot\n");
  fault_ = [](const Request&, Response& response) { response.status = 503; };
  watch(name_line());
  EXPECT_FALSE(is_right());
  EXPECT_FALSE(std::filesystem::exists(path("asked")));
}

TEST_F(WatchTest, ANewComplaintIsHeardWhileAnotherOneWaits) {
  prepare();
  environment_.print = [](std::string_view) {};
  fault_ = [](const Request&, Response& response) { response.status = 503; };
  Watcher watcher(path("sysroot"), environment_);
  EXPECT_TRUE(watcher.hear(name_line()).value());
  EXPECT_FALSE(watcher.hear(name_line()).value());
  ASSERT_TRUE(watcher.mend());
  EXPECT_FALSE(watcher.hear(name_line()).value());
  const std::string other = sysroot::object_path(
      verity::digest_of(as_bytes(first_release().files.at("/usr/bin/program9"))));
  ASSERT_TRUE(std::filesystem::remove(path("sysroot/cfs/" + other)));
  EXPECT_TRUE(
      watcher.hear("4,3,1,-;overlayfs: lazy lowerdata lookup failed (bin/program9, err=-2)\n")
          .value());
  EXPECT_EQ(watcher.pause(), Watcher::kFirstPause);
}

}  // namespace
}  // namespace cfs::deployer
