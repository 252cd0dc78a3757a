// SPDX-License-Identifier: Apache-2.0
#include "deployer/install.h"

#include <signal.h>

#include <thread>

#include "deployer/test_support.h"
#include "lib/base/subprocess.h"
#include "lib/base/work_directory.h"

namespace cfs::deployer {
namespace {

class InstallTest : public DeviceTest {
 protected:
  Result<int> install(const std::string& disk, const std::string& free = "16MiB",
                      const std::string& device_url = "https://updates.example/os",
                      const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = {
        "install", "--disk", disk,           "--url",    server_.url(), "--root", path("root.json"),
        "--name",  "test",   "--device-url", device_url, "--free",      free};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_command(arguments);
  }
  /// What other people's programs say about a disk.
  static std::string say(std::vector<std::string> arguments) {
    std::vector<std::string> shell = {
        "sh", "-c", "PATH=$PATH:/usr/sbin:/sbin; \"$@\" 2>&1 || echo failed", "sh"};
    shell.insert(shell.end(), arguments.begin(), arguments.end());
    return cfs::run_command({.arguments = shell}).value_or("cannot run a shell");
  }
  /// debugfs on the root file system of the disk.
  std::string debugfs(const std::string& disk, const std::string& command) {
    std::string table = say({"sfdisk", "--dump", path(disk)});
    size_t second = table.find("start=", table.find("start=") + 1);
    if (second == std::string::npos) return table;
    return say(
        {"debugfs", "-R", command,
         path(disk) + "?offset=" + std::to_string(std::stoull(table.substr(second + 6)) * 512)});
  }
};

TEST_F(InstallTest, InstallMakesADiskOffline) {
  release::ReleaseDescription one = offer(first_release());
  ASSERT_DONE(install(path("disk")));
  EXPECT_THAT(output_, HasSubstr(one.image.digest.hex()));
  EXPECT_EQ(server_.count("/obj/"), one.objects.count + 1);
  EXPECT_THAT(names_in(""), ElementsAre("cmdline", "disk", "efivars", "esp", "root.json", "run",
                                        "settings", "sysroot"));

  const std::string entry = "cfs_1_" + one.image.digest.hex().substr(0, 12) + ".0";
  const std::string esp = path("disk") + "@@1M";
  EXPECT_THAT(say({"mtype", "-i", esp, "::/loader/loader.conf"}),
              HasSubstr("default " + entry + "[+.][1-9e]*\n"));
  EXPECT_THAT(say({"mdir", "-b", "-i", esp, "::/EFI/Linux"}), HasSubstr(entry + ".efi"));
  EXPECT_THAT(say({"mdir", "-b", "-i", esp, "::/EFI/BOOT"}), HasSubstr("BOOTX64.EFI"));
  auto debugfs = [&](const std::string& command) { return this->debugfs("disk", command); };
  const std::string id = one.image.digest.hex().substr(0, 12) + ".0";
  EXPECT_THAT(debugfs("cat /cfs/deployments/" + id + "/deployment.json"),
              AllOf(HasSubstr("\"state\":\"staged\""), HasSubstr(entry)));
  EXPECT_THAT(debugfs("stat /cfs/refs/staged"), HasSubstr("../deployments/" + id));
  EXPECT_THAT(debugfs("stat /cfs/images/" + one.image.digest.hex()), HasSubstr("Type: symlink"));
  EXPECT_THAT(debugfs("cat /cfs/origin.json"), HasSubstr("https://updates.example/os"));
  EXPECT_THAT(debugfs("cat /cfs/trust/targets.json"), HasSubstr("test_1.release.json"));
  EXPECT_THAT(debugfs("stat /cfs/state/var"), HasSubstr("Mode:  0755"));
  const std::string image = debugfs("stat /cfs/objects/" + one.image.digest.object_path());
  EXPECT_THAT(image, AllOf(HasSubstr("Mode:  0444"), HasSubstr("Flags: 0x180000")));  // and verity
  EXPECT_THAT(debugfs("ls -p /cfs"), Not(HasSubstr("/lock/")));
  EXPECT_THAT(debugfs("ls -p /cfs/objects"), Not(HasSubstr("/.cfs/")));

  ASSERT_DONE(install(path("again")));
  EXPECT_EQ(say({"cmp", path("disk"), path("again")}), "");

  fault_ = [](const Request& request, Response& response) {
    if (request.target.starts_with("/obj/")) response = {.status = 404};
  };
  expect_exit(install(path("third")), 8, "404");
  EXPECT_THAT(names_in(""), ElementsAre("again", "cmdline", "disk", "efivars", "esp", "root.json",
                                        "run", "settings", "sysroot"));
}

TEST_F(InstallTest, TheReleaseIsTheRecoveryWhenThatIsWanted) {
  const std::string id = offer(first_release()).image.digest.hex().substr(0, 12) + ".0";
  ASSERT_DONE(install(path("disk"), "16MiB", server_.url(), {"--recovery"}));
  EXPECT_THAT(debugfs("disk", "stat /cfs/refs/recovery"), HasSubstr("../deployments/" + id));
  EXPECT_THAT(debugfs("disk", "stat /cfs/refs/staged"), HasSubstr("../deployments/" + id));
  ASSERT_DONE(install(path("other")));
  EXPECT_THAT(debugfs("other", "stat /cfs/refs/recovery"), HasSubstr("File not found"));
}

TEST_F(InstallTest, InstallFindsWhatCannotWorkBeforeItFetches) {
  offer(first_release());
  write("disk", "somebody's machine");
  Result<int> exists = install(path("disk"));
  expect_exit(exists, 1, "exists");
  EXPECT_EQ(exists.error().code, ErrorCode::kExists);
  EXPECT_THAT(exists.error().hint, HasSubstr("remove it"));
  EXPECT_EQ(read("disk"), "somebody's machine");
  std::filesystem::create_symlink("disk", path("link"));
  expect_exit(install(path("link")), 1, "is not a regular file");
  std::filesystem::create_symlink("nowhere", path("dangling"));
  expect_exit(install(path("dangling")), 1, "is not a regular file");
  expect_exit(install(path("esp")), 1, "is a directory");
  expect_exit(install(path("new/")), 1, "names no file");
  expect_exit(install(""), 2, "--disk: the value is empty");
  expect_exit(install(path("new"), ""), 2, "--free: the value is empty");
  expect_exit(install(path(std::string(256, 'x'))), 1, "too long");
  expect_exit(install(path("missing/disk")), 1, "missing");
  expect_exit(install("/proc/disk"), 1, "/proc");
  expect_exit(install("/dev/null"), 1, "is not a regular file");
  for (const char* bad : {"-1", "-1GB", "1.5G", "G", "1X", "1iB", "2TiB", "1048577M", "0x10",
                          "18446744073709551615", "18446744073709551615T", "16777216T", "1e3"}) {
    expect_exit(install(path("new"), bad), 2, "is not a size from 0 to 1TiB");
  }
  pid_t child = ::fork();
  if (child == 0) {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): a process of its own; mtools lies in /usr/bin alone
    ::setenv("PATH", path("no-programs").c_str(), 1);
    Result<int> result = install(path("new"));
    bool is_said = !result && result.error().code == ErrorCode::kNotFound &&
                   result.error().hint.find("Debian package mtools") != std::string::npos;
    ::_exit(is_said ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_EQ(server_.targets().size(), 0u);
  EXPECT_FALSE(stat_at(AT_FDCWD, path("new"), 0));

  // An empty file, as mktemp makes it, may be filled; sizes have units.
  write("empty", "");
  ASSERT_DONE(install(path("empty"), "16mb"));
  EXPECT_GT(std::filesystem::file_size(path("empty")), 100u << 20);
}

TEST_F(InstallTest, AKilledInstallsFilesGoWithTheNextOne) {
  offer(first_release());
  auto install = [&] {
    return run_command({"install", "--disk", path("disks/disk"), "--url", server_.url(), "--root",
                        path("root.json"), "--name", "test", "--free", "0"});
  };
  std::atomic<int> objects{0};
  std::atomic<bool> is_slow{true};
  fault_ = [&](const Request& request, Response& response) {
    if (!is_slow || !request.target.starts_with("/obj/")) return;
    ++objects;
    response.delay_before = std::chrono::seconds(60);
  };
  ASSERT_TRUE(make_directories(AT_FDCWD, path("disks/cfs-backup")));
  ASSERT_TRUE(make_directories(AT_FDCWD, path("disks/.cfs-deploy-mine")));
  pid_t child = ::fork();
  if (child == 0) {
    (void)install();
    ::_exit(0);
  }
  while (objects == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  is_slow = false;
  EXPECT_THAT(names_in("disks"), testing::SizeIs(3));
  {
    // One that runs is left alone.
    WorkDirectory other = WorkDirectory::create(AT_FDCWD, path("disks"), ".cfs-deploy-").value();
    EXPECT_THAT(names_in("disks"), testing::SizeIs(4));
  }
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_THAT(names_in("disks"), testing::SizeIs(3));
  ASSERT_DONE(install());
  EXPECT_THAT(names_in("disks"), ElementsAre(".cfs-deploy-mine", "cfs-backup", "disk"));
}

TEST_F(InstallTest, TheUmaskOfWhoeverRunsItDoesNotReachTheDisk) {
  offer(first_release());
  for (const auto& [name, mask] : {std::pair{"open", 0U}, {"group", 002U}, {"closed", 077U}}) {
    const mode_t old = ::umask(mask);
    Result<int> result = install(path(name));
    (void)::umask(old);
    ASSERT_TRUE(result) << result.error().describe();
  }
  EXPECT_EQ(say({"cmp", path("open"), path("group")}), "");
  EXPECT_EQ(say({"cmp", path("open"), path("closed")}), "");
  // Nobody but root looks in, and owns it, whoever made it.
  EXPECT_THAT(debugfs("open", "stat /cfs"),
              AllOf(HasSubstr("Mode:  0700"), HasSubstr("User:     0   Group:     0")));
  EXPECT_THAT(debugfs("open", "stat /"), HasSubstr("Mode:  0755"));
  EXPECT_THAT(debugfs("open", "stat /cfs/objects"), HasSubstr("Mode:  0755"));
  EXPECT_THAT(debugfs("open", "stat /cfs/trust/root.json"), HasSubstr("Mode:  0644"));
  EXPECT_THAT(debugfs("open", "stat /cfs/copies/root.json"), HasSubstr("Mode:  0644"));
}

TEST_F(InstallTest, APasswordInTheDevicesUrlIsForRootAlone) {
  offer(first_release());
  ASSERT_DONE(install(path("disk"), "0", "https://device:secret@updates.example/os"));
  EXPECT_THAT(output_, Not(HasSubstr("secret")));
  EXPECT_THAT(debugfs("disk", "stat /cfs/origin.json"), HasSubstr("Mode:  0600"));
  EXPECT_THAT(debugfs("disk", "cat /cfs/origin.json"),
              HasSubstr("https://device:secret@updates.example/os"));
  EXPECT_THAT(debugfs("disk", "stat /cfs/copies/origin.json"), HasSubstr("Mode:  0600"));
}

TEST_F(InstallTest, AnEmptyFileKeepsItsMode) {
  offer(first_release());
  write("disk", "");
  std::filesystem::permissions(path("disk"), static_cast<std::filesystem::perms>(0600));
  ASSERT_DONE(install(path("disk"), "0"));
  EXPECT_EQ(std::filesystem::status(path("disk")).permissions(),
            static_cast<std::filesystem::perms>(0600));
}

TEST_F(InstallTest, ADiskThatIsTooSmallIsFoundBeforeAnythingIsFetched) {
  FakeRelease release = first_release();
  release.files["/usr/big"] = random_text(3'000'000, 300);
  offer(release);
  const std::string small = path("small");
  ASSERT_TRUE(make_directories(AT_FDCWD, small));
  int status = in_own_mounts([&] {
    if (::mount("none", small.c_str(), "tmpfs", 0, "size=12m") != 0) return 101;
    Result<int> result = install(small + "/disk", "0");
    if (result) return 102;
    bool is_said = result.error().message.find(small) != std::string::npos;
    return is_said ? exit_status(result.error().code) : 103;
  });
  EXPECT_EQ(status, 9);
  EXPECT_EQ(server_.count("/rel/"), 1u);
  EXPECT_EQ(server_.count("/obj/"), 0u);
}

}  // namespace
}  // namespace cfs::deployer
