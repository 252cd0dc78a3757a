// SPDX-License-Identifier: Apache-2.0
#include "deployer/sysroot/sysroot.h"

#include <map>

#include "deployer/test_support.h"
#include "lib/sysroot/layout.h"

namespace cfs::deployer {
namespace {

class SysrootTest : public DeviceTest {};

TEST_F(SysrootTest, OneAtATime) {
  offer(first_release());
  ASSERT_DONE(init());
  {
    Sysroot other = Sysroot::open(environment_, path("sysroot"), Access::kWrite).value();
    for (const Result<int>& result : {update(), rollback()}) {
      ASSERT_FALSE(result);
      EXPECT_EQ(result.error().code, ErrorCode::kBusy);
      EXPECT_THAT(result.error().message, HasSubstr("another cfs-deploy"));
    }
    EXPECT_THAT(status(), HasSubstr("booted    none"));  // looking is always possible
  }
  ASSERT_DONE(update());
}

TEST_F(SysrootTest, ASysrootThatIsShownReadOnlyIsUpdated) {
  offer(first_release());
  ASSERT_DONE(init());
  const std::string sysroot = path("sysroot");
  int status = in_own_mounts([&] {
    auto mount = [&](unsigned long flags) {
      return ::mount(sysroot.c_str(), sysroot.c_str(), nullptr, flags, nullptr) == 0;
    };
    if (!mount(MS_BIND) || !mount(MS_BIND | MS_REMOUNT | MS_RDONLY)) return 101;
    Result<int> result = update();
    return result ? *result : 102;
  });
  EXPECT_EQ(status, 0);
  EXPECT_EQ(reboot(), "1");
}

TEST_F(SysrootTest, SysrootPathsOfAllKinds) {
  offer(first_release());
  std::filesystem::create_directory_symlink("sysroot", path("link"));
  ASSERT_EQ(::chdir(directory_.path().c_str()), 0);
  ASSERT_DONE(run_command({"init", "--sysroot", "sysroot/", "--url", server_.url(), "--root",
                           "root.json", "--name", "test"}));
  EXPECT_EQ(std::filesystem::status(path("sysroot/cfs")).permissions(),
            static_cast<std::filesystem::perms>(0700));
  for (const std::string& sysroot : {std::string("./sysroot"), std::string("link"),
                                     path("link") + "//", std::string("esp/../sysroot")}) {
    Result<int> result = run_command({"update", "--sysroot", sysroot, "--esp", "esp/"});
    ASSERT_TRUE(result) << sysroot << ": " << result.error().describe();
    EXPECT_EQ(*result, sysroot == "./sysroot" ? 0 : 10);
    ASSERT_DONE(run_command({"status", "--sysroot", sysroot}));
  }
  ASSERT_EQ(::chdir("/"), 0);
  expect_exit(run_command({"status", "--sysroot", path("root.json")}), 1, "root.json");
  expect_exit(run_command({"status", "--sysroot", path("none")}), 1, "holds no cfs sysroot");
}

TEST_F(SysrootTest, AReadOnlyFileSystemIsSaidSo) {
  offer(first_release());
  int status = in_own_mounts([&] {
    const std::string sysroot = path("sysroot");
    if (::mount("none", sysroot.c_str(), "tmpfs", 0, nullptr) != 0 || !init()) return 101;
    if (::mount(nullptr, sysroot.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) != 0)
      return 102;
    Result<int> result = update();
    if (result || result.error().code != ErrorCode::kPermission) return 103;
    return result.error().message.find("is read-only") == std::string::npos ? 104 : 0;
  });
  EXPECT_EQ(status, 0);
}

/// Permissions of everything below a directory, by path.
std::map<std::string, unsigned> modes_below(const std::string& top) {
  std::map<std::string, unsigned> modes;
  for (const auto& file : std::filesystem::recursive_directory_iterator(top)) {
    struct stat status = stat_at(AT_FDCWD, file.path(), AT_SYMLINK_NOFOLLOW).value();
    if (S_ISLNK(status.st_mode)) continue;
    modes[std::filesystem::relative(file.path(), top)] = status.st_mode & 07777U;
  }
  return modes;
}

TEST_F(SysrootTest, TheUmaskDoesNotReachTheDevice) {
  offer(first_release());
  std::map<std::string, unsigned> expected;
  for (mode_t mask : {mode_t{022}, mode_t{0}, mode_t{002}, mode_t{077}}) {
    const std::string sysroot = path("sysroot" + std::to_string(mask));
    ASSERT_TRUE(make_directories(AT_FDCWD, sysroot));
    const mode_t old = ::umask(mask);
    Result<int> made = run_command({"init", "--sysroot", sysroot, "--url", server_.url(), "--root",
                                    path("root.json"), "--name", "test"});
    Result<int> updated = run_command({"update", "--sysroot", sysroot, "--esp", path("esp")});
    (void)::umask(old);
    ASSERT_TRUE(made && updated);
    std::map<std::string, unsigned> modes = modes_below(sysroot);
    for (auto it = modes.begin(); it != modes.end();) {
      it = it->first.starts_with("cfs/objects/.cfs/verified") ? modes.erase(it) : std::next(it);
    }
    if (expected.empty()) expected = modes;
    EXPECT_EQ(modes, expected) << mask;
  }
  EXPECT_EQ(expected.at("cfs"), 0700U);
  EXPECT_EQ(expected.at("cfs/origin.json"), 0600U);
  EXPECT_EQ(expected.at("cfs/lock"), 0600U);
  EXPECT_EQ(expected.at("cfs/objects"), 0755U);
  EXPECT_EQ(expected.at("cfs/state/var"), 0755U);
}

TEST_F(SysrootTest, AnExistingDeviceIsMendedAtTheNextWrite) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  const std::map<std::string, unsigned> right = modes_below(path("sysroot"));
  // As an earlier version left them under umask 000.
  for (const auto& [name, mode] : right) {
    bool is_directory = std::filesystem::is_directory(path("sysroot/" + name));
    if (name.starts_with("cfs/state/var")) continue;
    if (is_directory) {
      std::filesystem::permissions(path("sysroot/" + name),
                                   static_cast<std::filesystem::perms>(0777));
    }
  }
  std::filesystem::permissions(path("sysroot/cfs/origin.json"),
                               static_cast<std::filesystem::perms>(0644));
  expect_up_to_date("1");
  const std::map<std::string, unsigned> mended = modes_below(path("sysroot"));
  for (const char* name :
       {"cfs", "cfs/objects", "cfs/trust", "cfs/deployments", "cfs/refs", "cfs/releases",
        "cfs/images", "cfs/state", "cfs/tmp", "cfs/origin.json"}) {
    EXPECT_EQ(mended.at(name), right.at(name)) << name;
  }
  for (const auto& [name, mode] : right) {
    if (name.starts_with("cfs/objects/") && name.size() == 14) {
      EXPECT_EQ(mended.at(name), mode) << name;
    }
  }
}

TEST_F(SysrootTest, WhatWasCutOffIsRemovedAtTheNextWrite) {
  ASSERT_DONE(init());
  offer(first_release());
  ASSERT_DONE(update());
  ASSERT_DONE(run_command({"reset", "--etc", "--sysroot", path("sysroot")}));
  const std::string deployment = sysroot::deployment_directory(reference("staged").substr(15));
  const std::string release = sysroot::release_directory(offered_.image.digest);
  ASSERT_TRUE(make_directories(AT_FDCWD, path("sysroot/cfs/state/boot")));
  for (const std::string& place :
       {std::string("."), std::string("trust"), std::string("images"), std::string("refs"),
        std::string("refs/pinned"), std::string("state"), std::string("state/boot"),
        std::string("state/etc"), std::string("tmp"), deployment, release}) {
    ASSERT_TRUE(make_directories(AT_FDCWD, path("sysroot/cfs/" + place)));
    write("sysroot/cfs/" + place + "/.cfs-tmp-0123456789abcdef", "{");
  }
  const std::string of_init = "sysroot/.cfs-deploy-0123456789abcdef";
  ASSERT_TRUE(make_directories(AT_FDCWD, path(of_init)));
  write(of_init + "/file", "");
  expect_up_to_date("1");
  for (const auto& one : std::filesystem::recursive_directory_iterator(path("sysroot"))) {
    EXPECT_FALSE(one.path().filename().string().starts_with(".cfs-")) << one.path();
  }
}

TEST_F(SysrootTest, AFileOfOursThatIsTooLargeIsCorrupt) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  for (const char* name : {"meta.json", "origin.json"}) {
    const std::string file = std::string("sysroot/cfs/") + name;
    const std::string content = read(file);
    const std::string copy = "sysroot/cfs/" + sysroot::copy_path(name);
    for (const std::string& one : {file, copy}) write(one, content + std::string(3 << 20, ' '));
    expect_exit(update(), 7, std::string("while reading '") + name + "'");
    expect_exit(rollback(), 7, "file is larger than 65536 bytes");
    write(file, content);
  }
  write("root.json", std::string(3 << 20, ' '));
  std::filesystem::remove_all(path("sysroot/cfs"));
  expect_exit(init(), 7, "root.json");
}

TEST_F(SysrootTest, SymlinksInsideAreNotFollowed) {
  offer(first_release());
  ASSERT_DONE(init());
  ASSERT_DONE(update());
  ASSERT_EQ(reboot(), "1");
  offer(second_release());
  ASSERT_TRUE(make_directories(AT_FDCWD, path("outside/directory")));
  const std::string text = "somebody's";
  write("outside/file", text);
  write("outside/directory/file", text);
  const auto before = modes_below(path("outside"));
  for (const char* name : {"tmp", "trust", "objects", "images", "releases", "deployments", "refs",
                           "state", "lock", "meta.json", "origin.json"}) {
    const std::string inside = path(std::string("sysroot/cfs/") + name);
    bool is_directory = std::filesystem::is_directory(inside);
    std::filesystem::rename(inside, path("kept"));
    std::filesystem::create_symlink(path(is_directory ? "outside" : "outside/file"), inside);
    Result<int> updated = update();
    // What was written under the name of a symlink replaced it; else the update was refused.
    EXPECT_FALSE(updated) << name;
    EXPECT_FALSE(rollback()) << name;
    EXPECT_EQ(read("outside/file"), text) << name;
    EXPECT_EQ(read("outside/directory/file"), text) << name;
    EXPECT_EQ(modes_below(path("outside")), before) << name;
    std::filesystem::remove(inside);
    std::filesystem::rename(path("kept"), inside);
  }
  ASSERT_DONE(update());
}

}  // namespace
}  // namespace cfs::deployer
