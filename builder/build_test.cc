// SPDX-License-Identifier: Apache-2.0
#include "builder/build.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <chrono>
#include <csignal>
#include <sstream>
#include <thread>

#include "builder/command_line.h"
#include "builder/packages.h"
#include "builder/test_support.h"
#include "lib/base/subprocess.h"
#include "lib/boot/uki.h"
#include "lib/erofs/reader.h"

namespace cfs::builder {
namespace {

using testing::HasSubstr;
using testing::UnorderedElementsAre;

/// A folder with a small root file system as a tar, a directory that goes over it, and a manifest.
struct Project : Workbench {
  Project() {
    std::string modules = "usr/lib/modules/6.12-x/";
    TarMaker tar;
    tar.add("./", {.type = '5', .mode = 0755});
    tar.add("boot/vmlinuz-6.12-x", {}, "MZ" + std::string(5000, 'k'));
    tar.add(modules + "modules.dep", {}, "kernel/erofs.ko:\n");
    tar.add(modules + "modules.builtin", {});
    tar.add(modules + "kernel/erofs.ko", {}, std::string(300, 'm'));
    tar.add("usr/lib/os-release", {}, "PRETTY_NAME=\"Test OS\"\nID=test\n");
    tar.add("usr/bin/tool", {.mode = 04755}, std::string(9000, 't'));
    tar.add("usr/bin/alias", {.type = '1', .link = "usr/bin/tool"});
    tar.add("usr/share/doc/x", {}, std::string(7000, 'd'));
    tar.add("etc/machine-id", {}, "0123\n");
    tar.add("var/lib/dpkg/status", {},
            "Package: zsh\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.9-4\n\n"
            "Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n\n"
            "Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2\n");
    write("base.tar", tar.finish());
    must(make_directories(AT_FDCWD, path("site/etc")));
    write("site/etc/motd", "hello\n");
    write("mount-root", "#!mount-root");
    write("m.yaml", manifest("1"));
  }
  static std::string manifest(const std::string& version) {
    return "cfs: 1\nimage: {name: test, version: '" + version +
           "', epoch: 7}\n"
           "sources:\n"
           "  - {id: base, tar: {path: base.tar}}\n"
           "  - {id: site, dir: {path: site}}\n"
           "files:\n"
           "  - {match: /usr/share/doc, exclude: true}\n"
           "kernel: {initramfs: {modules: [erofs]}, cmdline: [quiet]}\n";
  }
  std::vector<std::string> arguments(const std::string& output,
                                     std::vector<std::string> more = {}) const {
    std::vector<std::string> result = {"build",      path("m.yaml"), "-o",
                                       path(output), "--mount-root", path("mount-root")};
    result.insert(result.end(), more.begin(), more.end());
    return result;
  }
  std::string read(const std::string& name) const {
    return must(read_file(AT_FDCWD, path(name), 64 << 20));
  }
  std::vector<std::string> names(const std::string& name) const {
    return must(list_directory(AT_FDCWD, path(name)));
  }
};

TEST(Build, MakesEverythingThatTheFormatSays) {
  Project project;
  std::ostringstream out;
  Result<> done = run(project.arguments("out"), out);
  ASSERT_TRUE(done) << done.error().describe();
  EXPECT_THAT(project.names("out"),
              UnorderedElementsAre("cmdline", "image.cfs", "initramfs", "objects", "packages.json",
                                   "release.json", "test_1.efi", "vmlinuz"));
  release::ReleaseDescription release =
      must(release::parse_description(project.read("out/release.json")));
  EXPECT_EQ(release.name, "test");
  EXPECT_EQ(release.epoch, 7U);
  EXPECT_EQ(release.created, static_cast<uint64_t>(kDefaultSourceDateEpoch));
  EXPECT_EQ(release.kernel.version, "6.12-x");
  EXPECT_FALSE(release.transport.has_value());

  // The image is what its digest says, and the store holds it and what it needs, nothing else.
  std::string image = project.read("out/image.cfs");
  EXPECT_EQ(verity::digest_of(as_bytes(image)), release.image.digest);
  EXPECT_EQ(image.size(), release.image.size_bytes);
  auto store = must(store::ObjectStore::open(AT_FDCWD, project.path("out/objects"), {}));
  std::vector<verity::Digest> objects = must(store.list());
  EXPECT_EQ(objects.size(), release.objects.count + 1);
  for (const verity::Digest& digest : objects) EXPECT_TRUE(must(store.contains(digest)));
  EXPECT_THAT(out.str(), HasSubstr(release.image.digest.hex()));

  erofs::Image back = must(erofs::read_image(as_bytes(image)));
  EXPECT_EQ(back.tree.find("/usr/bin/tool")->inode().attributes.nlink, 2U);
  EXPECT_EQ(back.tree.find("/etc/motd")->content(), "hello\n");
  EXPECT_EQ(back.tree.find("/usr/share/doc"), nullptr);
  EXPECT_TRUE(back.tree.find("/boot")->children().empty());
  EXPECT_EQ(back.tree.find("/etc/machine-id")->size_bytes, 0U);

  // The UKI pins the image and consists of the files beside it.
  std::string command_line = "quiet composefs.digest=" + release.image.digest.hex();
  EXPECT_EQ(project.read("out/cmdline"), command_line + "\n");
  std::string uki = project.read("out/test_1.efi");
  boot::UkiInfo info = must(boot::read_uki(as_bytes(uki)));
  EXPECT_EQ(info.cmdline, command_line);
  EXPECT_EQ(info.uname, "6.12-x");
  EXPECT_THAT(info.os_release, HasSubstr("PRETTY_NAME=\"Test OS\"\n"));
  EXPECT_THAT(info.os_release, HasSubstr("IMAGE_ID=test\nIMAGE_VERSION=1"));
  ASSERT_EQ(release.files.size(), 1U);
  EXPECT_EQ(release.files[0].sha256, verity::sha256(as_bytes(uki)));
  EXPECT_NE(uki.find(project.read("out/initramfs")), std::string::npos);

  EXPECT_EQ(project.read("out/packages.json"),
            "[{\"architecture\":\"amd64\",\"name\":\"bash\",\"version\":\"5.2\"},"
            "{\"architecture\":\"amd64\",\"name\":\"zsh\",\"version\":\"5.9-4\"}]\n");
}

TEST(Build, TwiceTheSameBytes) {
  Project project;
  std::ostringstream out;
  must(run(project.arguments("one"), out));
  // Another time, another place.
  must(run_command({.arguments = {"touch", project.path("site/etc/motd")}}));
  must(run(project.arguments("two", {"--store", project.path("shared")}), out));
  for (const char* name :
       {"release.json", "image.cfs", "test_1.efi", "initramfs", "packages.json"}) {
    EXPECT_EQ(project.read(std::string("one/") + name), project.read(std::string("two/") + name))
        << name;
  }
}

TEST(Build, ReplacesOnlyAnEarlierOutput) {
  Project project;
  std::ostringstream out;
  must(run(project.arguments("out"), out));
  project.write("m.yaml", Project::manifest("2"));
  must(run(project.arguments("out"), out));
  EXPECT_THAT(project.names("out"), testing::Contains("test_2.efi"));
  EXPECT_THAT(project.names("out"), testing::Not(testing::Contains("test_1.efi")));

  must(make_directories(AT_FDCWD, project.path("precious")));
  project.write("precious/thesis", "x");
  Result<> done = run(project.arguments("precious"), out);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ErrorCode::kExists);
  EXPECT_EQ(project.read("precious/thesis"), "x");
}

/// What a failed build may leave: nothing that was not there before.
void expect_clean_failure(Project& project, ErrorCode code, const std::string& message) {
  std::vector<std::string> before = project.names(".");
  std::ostringstream out;
  Result<> done = run(project.arguments("out"), out);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, code) << done.error().describe();
  EXPECT_THAT(done.error().describe(), HasSubstr(message));
  EXPECT_EQ(project.names("."), before);
  EXPECT_EQ(out.str(), "");
}

TEST(Build, MissingSourceLeavesNothing) {
  Project project;
  must(remove_file(AT_FDCWD, project.path("base.tar")));
  expect_clean_failure(project, ErrorCode::kNotFound, "source 'base'");
}

TEST(Build, CutOffSourceLeavesNothing) {
  Project project;
  project.write("base.tar", project.read("base.tar").substr(0, 12000));
  expect_clean_failure(project, ErrorCode::kCorrupt, "source 'base'");
}

TEST(Build, FullDiskLeavesNothing) {
  Project project;
  // A file that may not grow fails like a full disk: EFBIG with SIGXFSZ ignored (setrlimit(2)).
  struct rlimit old = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  struct rlimit small = old;
  small.rlim_cur = 8000;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  expect_clean_failure(project, ErrorCode::kNoSpace, "");
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old), 0);
  std::signal(SIGXFSZ, old_handler);
}

TEST(Build, SignalWhileASourceIsReadLeavesNothing) {
  Project project;
  std::string half = project.read("base.tar").substr(0, 12000);
  must(remove_file(AT_FDCWD, project.path("base.tar")));
  ASSERT_EQ(::mkfifo(project.path("base.tar").c_str(), 0600), 0);
  UniqueFd fifo = must(open_at(AT_FDCWD, project.path("base.tar"), O_RDWR));
  std::vector<std::string> before = project.names(".");
  for (int signal_number : {SIGINT, SIGTERM}) {
    std::vector<std::string> arguments = project.arguments("out");
    arguments.insert(arguments.begin(), CFS_BUILD_PROGRAM);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    pid_t child = -1;
    ASSERT_EQ(::posix_spawn(&child, CFS_BUILD_PROGRAM, nullptr, nullptr, argv.data(), environ), 0);
    must(write_full(fifo.get(), as_bytes(half)));
    // The half archive is taken out of the pipe, then the build waits for the rest.
    int waiting = 1;
    while (waiting > 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      ASSERT_EQ(::ioctl(fifo.get(), FIONREAD, &waiting), 0);
    }
    EXPECT_GT(project.names(".").size(), before.size()) << "the output is being made";
    ASSERT_EQ(::kill(child, signal_number), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == exit_status(ErrorCode::kInterrupted));
    EXPECT_EQ(project.names("."), before);
  }
}

TEST(Build, TwoAtOnceIntoOneStore) {
  Project project;
  auto build_into = [&](const std::string& output) {
    return [&project, output] {
      std::ostringstream out;
      Result<> done = run(project.arguments(output, {"--store", project.path("shared")}), out);
      EXPECT_TRUE(done) << done.error().describe();
    };
  };
  std::thread first(build_into("a"));
  std::thread second(build_into("b"));
  first.join();
  second.join();
  EXPECT_EQ(project.read("a/release.json"), project.read("b/release.json"));
  auto store = must(store::ObjectStore::open(AT_FDCWD, project.path("a/objects"), {}));
  for (const verity::Digest& digest : must(store.list())) {
    EXPECT_TRUE(must(store.contains(digest)));
  }
}

TEST(Build, StoreInsideTheOutputIsRefused) {
  Project project;
  std::ostringstream out;
  Result<> done = run(project.arguments("out", {"--store", project.path("out/objects")}), out);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ErrorCode::kUsage);
  EXPECT_FALSE(stat_at(AT_FDCWD, project.path("out"), 0));
}

TEST(Build, WithoutAKernelThereIsNoUki) {
  Project project;
  std::string manifest = Project::manifest("1");
  project.write("m.yaml", manifest.substr(0, manifest.find("kernel:")));
  std::ostringstream out;
  Result<> done = run(project.arguments("out"), out);
  ASSERT_TRUE(done) << done.error().describe();
  EXPECT_THAT(project.names("out"),
              UnorderedElementsAre("image.cfs", "objects", "packages.json", "release.json"));
}

TEST(FindMountRoot, NamesThePlaces) {
  Workbench bench;
  must(make_directories(AT_FDCWD, bench.path("bin")));
  must(make_directories(AT_FDCWD, bench.path("lib/cfs")));
  Error missing = find_mount_root(bench.path("bin/cfs-build")).error();
  EXPECT_EQ(missing.code, ErrorCode::kNotFound);
  EXPECT_THAT(missing.message, HasSubstr(bench.path("lib/cfs/cfs-mount-root")));
  bench.write("lib/cfs/cfs-mount-root", "x");
  EXPECT_EQ(must(find_mount_root(bench.path("bin/cfs-build"))),
            bench.path("lib/cfs/cfs-mount-root"));
}

TEST(CommandLine, MistakesAreUsageErrors) {
  std::ostringstream out;
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{},
                                                    {"frob"},
                                                    {"build"},
                                                    {"build", "m.yaml"},
                                                    {"build", "m.yaml", "-o", "x", "--nope"}}) {
    Result<> done = run(arguments, out);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, ErrorCode::kUsage);
  }
  EXPECT_EQ(out.str(), "");
  EXPECT_TRUE(run({"build", "--help"}, out));
  EXPECT_THAT(out.str(), HasSubstr("--store"));
}

}  // namespace
}  // namespace cfs::builder
