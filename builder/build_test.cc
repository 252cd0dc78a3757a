// SPDX-License-Identifier: Apache-2.0
#include "builder/build.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <sstream>
#include <thread>

#include "builder/command.h"
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
    tar.add(modules + "modules.builtin", {}, "kernel/overlay.ko\nkernel/virtio_blk.ko\n");
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
    write("mount-root", static_program("mount-root"));
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
  [[nodiscard]] std::vector<std::string> arguments(const std::string& output,
                                                   std::vector<std::string> more = {}) const {
    std::vector<std::string> result = {"build",      path("m.yaml"), "-o",
                                       path(output), "--mount-root", path("mount-root")};
    result.insert(result.end(), more.begin(), more.end());
    return result;
  }
  [[nodiscard]] std::string read(const std::string& name) const {
    return must(read_file(AT_FDCWD, path(name), 64 << 20));
  }
  [[nodiscard]] std::vector<std::string> names(const std::string& name) const {
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
                                   "release.json", "test_1.efi", "var.txt", "vmlinuz"));
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

  EXPECT_TRUE(back.tree.find("/var")->children().empty());
  EXPECT_EQ(back.tree.find("/usr/share/factory/var/lib/dpkg")->symlink_target(),
            "../../usr/lib/sysimage/dpkg");
  EXPECT_EQ(project.read("out/var.txt"), "replaced /var/lib/dpkg\n");

  // The UKI pins the image and consists of the files beside it.
  std::string command_line =
      "quiet systemd.gpt_auto=0 composefs.digest=" + release.image.digest.hex();
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
       {"release.json", "image.cfs", "test_1.efi", "initramfs", "packages.json", "var.txt"}) {
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
  expect_clean_failure(
      project, ErrorCode::kNotFound,
      "m.yaml:4:28: sources[0].tar.path: '" + project.path("base.tar") + "' does not exist");
}

TEST(Build, EverySourceThatIsMissingIsNamed) {
  Project project;
  must(remove_file(AT_FDCWD, project.path("base.tar")));
  must(remove_tree(AT_FDCWD, project.path("site")));
  expect_clean_failure(project, ErrorCode::kNotFound, "the list of sources has 2 errors:\n");
  expect_clean_failure(project, ErrorCode::kNotFound, "sources[1].dir.path");
}

TEST(Build, WhatCanBeKnownIsFoundBeforeAnyWork) {
  struct Case {
    std::function<void(Project&)> spoil;
    ErrorCode code;
    const char* message;
  };
  for (const Case& test : std::vector<Case>{
           {[](Project& project) { must(remove_tree(AT_FDCWD, project.path("site"))); },
            ErrorCode::kNotFound, "m.yaml:5:28: sources[1].dir.path: "},
           {[](Project& project) {
              must(remove_tree(AT_FDCWD, project.path("site")));
              project.write("site", "a file");
            },
            ErrorCode::kInvalidInput, "is not a directory"},
           {[](Project& project) {
              must(rename_at(AT_FDCWD, project.path("site"), AT_FDCWD, project.path("real")));
              ASSERT_EQ(::symlink("real", project.path("site").c_str()), 0);
            },
            ErrorCode::kInvalidInput, "is a symlink, not a directory"},
           {[](Project& project) {
              must(remove_file(AT_FDCWD, project.path("base.tar")));
              must(make_directories(AT_FDCWD, project.path("base.tar")));
            },
            ErrorCode::kInvalidInput, "is a directory, not a tar archive"},
           {[](Project& project) { must(remove_file(AT_FDCWD, project.path("mount-root"))); },
            ErrorCode::kNotFound, "mount-root"},
       }) {
    Project project;
    test.spoil(project);
    // Were the sources read in order, the wait for a writer would never end.
    if (must(stat_at(AT_FDCWD, project.path("base.tar"), 0)).st_size > 0 &&
        S_ISREG(must(stat_at(AT_FDCWD, project.path("base.tar"), 0)).st_mode)) {
      must(remove_file(AT_FDCWD, project.path("base.tar")));
      ASSERT_EQ(::mkfifo(project.path("base.tar").c_str(), 0600), 0);
    }
    expect_clean_failure(project, test.code, test.message);
  }
}

/// Programs, replaced by scripts that come first in PATH, and a manifest whose source needs them.
struct FakeDebian {
  FakeDebian(Project& owner, const std::string& mmdebstrap, const std::string& apt_get = "exit 0")
      : project(owner) {
    must(make_directories(AT_FDCWD, project.path("bin")));
    add("mmdebstrap", mmdebstrap);
    add("apt-get", apt_get);
    add("apt-cache", "printf 'dbus\\nudev\\n'");
    set_path(project.path("bin") + ":" + old_path);
    project.write("m.yaml",
                  "cfs: 1\nimage: {name: test, version: '1', epoch: 1}\nsources:\n"
                  "  - {id: base, debian: {suite: x, packages: [dbuss],\n"
                  "      mirrors: ['deb http://127.0.0.1/ x main']}}\n");
  }
  FakeDebian(const FakeDebian&) = delete;
  FakeDebian& operator=(const FakeDebian&) = delete;
  ~FakeDebian() { set_path(old_path); }
  void add(const std::string& name, const std::string& script) const {
    must(write_file_atomically(AT_FDCWD, project.path("bin/" + name),
                               as_bytes("#!/bin/sh\n" + script + "\n"), 0755));
  }
  static void set_path(const std::string& path) {
    ASSERT_EQ(::setenv("PATH", path.c_str(), 1), 0);  // NOLINT(concurrency-mt-unsafe)
  }
  Project& project;
  std::string old_path = ::getenv("PATH");  // NOLINT(concurrency-mt-unsafe)
};

TEST(Build, MmdebstrapsOwnWordsAreTheReason) {
  Project project;
  FakeDebian fake(project, "cat " + project.path("base.tar") + "\necho 'E: broken' >&2; exit 25");
  expect_clean_failure(project, ErrorCode::kSubprocess, "E: broken");
}

TEST(Build, MmdebstrapsFullDiskIsNoSpace) {
  Project project;
  FakeDebian fake(project, "echo 'cannot write: No space left on device' >&2; exit 1");
  expect_clean_failure(project, ErrorCode::kNoSpace, "No space left on device");
}

TEST(Build, MissingMmdebstrapIsFoundBeforeAnyWork) {
  Project project;
  FakeDebian fake(project, "");
  FakeDebian::set_path(project.path("site"));
  expect_clean_failure(project, ErrorCode::kNotFound, "'mmdebstrap'");
}

TEST(Build, AMisspeltPackageIsFoundBeforeMmdebstrapStarts) {
  Project project;
  FakeDebian fake(
      project, "touch " + project.path("started") + "; exit 1",
      "case \"$*\" in *install*) echo 'E: Unable to locate package dbuss' >&2; exit 100;; "
      "esac");
  testing::internal::CaptureStderr();
  std::ostringstream out;
  Result<> done = run(project.arguments("out"), out);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "") << "apt's words are for --verbose";
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().message,
            project.path("m.yaml") +
                ":4:46: sources[0].debian.packages[0]: the package 'dbuss' does not exist in x");
  EXPECT_EQ(done.error().hint, "did you mean 'dbus'?");
  EXPECT_FALSE(stat_at(AT_FDCWD, project.path("started"), 0));

  testing::internal::CaptureStderr();
  EXPECT_FALSE(run(project.arguments("out", {"--verbose"}), out));
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("E: Unable to locate package"));
}

TEST(Build, VerboseShowsWhatMmdebstrapSays) {
  Project project;
  FakeDebian fake(project, "echo 'I: hello' >&2; cat " + project.path("base.tar"));
  for (bool verbose : {false, true}) {
    testing::internal::CaptureStderr();
    std::ostringstream out;
    must(run(project.arguments(
                 "out", verbose ? std::vector<std::string>{"-v"} : std::vector<std::string>{}),
             out));
    EXPECT_EQ(testing::internal::GetCapturedStderr(), verbose ? "I: hello\n" : "");
  }
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
  (void)std::signal(SIGXFSZ, old_handler);
}

/// A cfs-build of its own that waits for the rest of base.tar, which becomes a FIFO.
class Child {
 public:
  Child(std::vector<std::string> arguments, Project& project) {
    std::string path = project.path("base.tar");
    if (S_ISREG(must(stat_at(AT_FDCWD, path, 0)).st_mode)) {
      must(remove_file(AT_FDCWD, path));
      EXPECT_EQ(::mkfifo(path.c_str(), 0600), 0);
    }
    fifo_ = must(open_at(AT_FDCWD, path, O_RDWR));
    arguments.insert(arguments.begin(), CFS_BUILD_PROGRAM);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    EXPECT_EQ(::posix_spawn(&pid_, CFS_BUILD_PROGRAM, nullptr, nullptr, argv.data(), environ), 0);
    TarMaker tar;
    tar.add("file", {}, std::string(5000, 'f'));
    must(write_full(fifo_.get(), as_bytes(tar.finish().substr(0, 4000))));
    // The half archive is taken out of the pipe, then the build waits for the rest.
    int waiting = 1;
    while (waiting > 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      EXPECT_EQ(::ioctl(fifo_.get(), FIONREAD, &waiting), 0);
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() { EXPECT_EQ(pid_, -1) << "call end()"; }

  /// The wait status after `signal_number`.
  int end(int signal_number) {
    EXPECT_EQ(::kill(pid_, signal_number), 0);
    int status = 0;
    EXPECT_EQ(::waitpid(pid_, &status, 0), pid_);
    pid_ = -1;
    return status;
  }

 private:
  UniqueFd fifo_;
  pid_t pid_ = -1;
};

TEST(Build, SignalWhileASourceIsReadLeavesNothing) {
  Project project;
  std::vector<std::string> before = project.names(".");
  for (int signal_number : {SIGINT, SIGTERM}) {
    Child child(project.arguments("out"), project);
    EXPECT_GT(project.names(".").size(), before.size()) << "the output is being made";
    int status = child.end(signal_number);
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

TEST(Build, OutputOrStoreInsideADirectorySourceIsRefused) {
  Project project;
  must(make_directories(AT_FDCWD, project.path("site/deep/er")));
  ASSERT_EQ(::symlink("site/deep", project.path("link").c_str()), 0);
  auto refusal = [&](const std::string& output, const std::vector<std::string>& more) {
    std::vector<std::string> before = project.names("site/deep/er");
    std::ostringstream out;
    Result<> done = run(project.arguments(output, more), out);
    EXPECT_FALSE(done) << output;
    if (done) return std::string();
    EXPECT_EQ(done.error().code, ErrorCode::kUsage) << done.error().describe();
    EXPECT_EQ(project.names("site/deep/er"), before);
    return done.error().message;
  };
  std::string site = "sources[1].dir.path: '" + project.path("site") + "' holds the ";
  for (const char* output : {"site/out", "site/deep/er/out", "site", "link/er/out", "link/out"}) {
    std::string message = refusal(output, {});
    EXPECT_THAT(message, HasSubstr(site + "output '" + project.path("site")));
  }
  for (const char* store : {"site/objects", "site/new/objects", "link/er", "link/er/new"}) {
    std::string message = refusal("out", {"--store", project.path(store)});
    EXPECT_THAT(message, HasSubstr(site + "store '" + project.path("site")));
  }
  // A neighbour whose name begins in the same way is not inside.
  std::ostringstream out;
  must(run(project.arguments("site-out", {"--store", project.path("site-objects")}), out));
}

TEST(Build, OutputThroughSymlinksFindsItsStore) {
  Project project;
  std::ostringstream out;
  must(make_directories(AT_FDCWD, project.path("elsewhere/deep")));
  ASSERT_EQ(::symlink("elsewhere/deep", project.path("link").c_str()), 0);
  must(run(project.arguments("link/out", {"--store", project.path("shared")}), out));
  must(store::ObjectStore::open(AT_FDCWD, project.path("link/out/objects"), {}));
  EXPECT_EQ(project.names("elsewhere/deep/out/objects"), project.names("shared"));

  // A link to an earlier output stays one; what it leads to is replaced.
  ASSERT_EQ(::symlink("elsewhere/deep/out", project.path("current").c_str()), 0);
  project.write("m.yaml", Project::manifest("2"));
  must(run(project.arguments("current", {"--store", project.path("link/../../shared")}), out));
  EXPECT_TRUE(
      S_ISLNK(must(stat_at(AT_FDCWD, project.path("current"), AT_SYMLINK_NOFOLLOW)).st_mode));
  EXPECT_THAT(project.names("elsewhere/deep/out"), testing::Contains("test_2.efi"));
  EXPECT_EQ(project.names("current/objects"), project.names("shared"));
  EXPECT_THAT(project.names("elsewhere/deep"), testing::ElementsAre("out"));

  ASSERT_EQ(::symlink("nowhere", project.path("dangling").c_str()), 0);
  Result<> done = run(project.arguments("dangling"), out);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ErrorCode::kExists);
}

TEST(Build, WhatAKilledBuildLeftIsRemoved) {
  Project project;
  std::vector<std::string> before = project.names(".");
  {
    Child killed(project.arguments("out"), project);
    killed.end(SIGKILL);
  }
  EXPECT_GT(project.names(".").size(), before.size()) << "else this test shows nothing";
  // What is not a dead build's stays: names that only look alike, and what its owner has locked.
  project.write("out.cfs-build-notes", "x");
  must(make_directories(AT_FDCWD, project.path(".other.cfs-build-0123456789abcdef")));
  must(make_directories(AT_FDCWD, project.path(".out.cfs-build-00000000000000aa")));
  UniqueFd alive = must(
      open_at(AT_FDCWD, project.path(".out.cfs-build-00000000000000aa"), O_RDONLY | O_DIRECTORY));
  ASSERT_EQ(::flock(alive.get(), LOCK_EX), 0);
  {
    Child second(project.arguments("out"), project);
    second.end(SIGTERM);
  }
  EXPECT_THAT(project.names("."),
              UnorderedElementsAre("base.tar", "m.yaml", "mount-root", "objects", "site",
                                   "out.cfs-build-notes", ".other.cfs-build-0123456789abcdef",
                                   ".out.cfs-build-00000000000000aa"));
}

TEST(Build, ABadEfiStubIsNamedBeforeAnyWork) {
  Project project;
  project.write("text", "not a program");
  for (const char* stub : {"none", "text", "site"}) {
    std::ostringstream out;
    Result<> done = run(project.arguments("out", {"--efi-stub", project.path(stub)}), out);
    ASSERT_FALSE(done) << stub;
    EXPECT_THAT(done.error().describe(), HasSubstr(project.path(stub)));
    EXPECT_THAT(project.names("."), UnorderedElementsAre("base.tar", "m.yaml", "mount-root",
                                                         "objects", "site", "text"));
  }
}

TEST(Build, MissingParentsOfTheOutputAreMade) {
  Project project;
  std::ostringstream out;
  must(run(project.arguments("new/deep/out"), out));
  EXPECT_THAT(project.names("new/deep"), testing::ElementsAre("out"));
}

TEST(Build, ExtensionsFromVarAreRefusedUnlessAllowed) {
  Project project;
  must(make_directories(AT_FDCWD, project.path("site/etc/systemd/system/x.target.wants")));
  ASSERT_EQ(
      ::symlink(
          "/usr/lib/systemd/system/systemd-sysext.service",
          project.path("site/etc/systemd/system/x.target.wants/systemd-sysext.service").c_str()),
      0);
  project.write("site/etc/systemd/system/systemd-sysext.service", "[Service]\n");
  expect_clean_failure(project, ErrorCode::kInvalidInput, "files in /var go over /usr or /etc");
  project.write("m.yaml", Project::manifest("1") + "allow: [extensions-from-var]\n");
  std::ostringstream out;
  must(run(project.arguments("out"), out));
}

/// One variable of our environment for a scope.
struct Variable {
  Variable(const char* variable, const char* value) : name(variable) {
    const char* before = ::getenv(name);  // NOLINT(concurrency-mt-unsafe)
    if (before != nullptr) old = before;
    ::setenv(name, value, 1);  // NOLINT(concurrency-mt-unsafe)
  }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;
  ~Variable() {
    if (old) {
      ::setenv(name, old->c_str(), 1);  // NOLINT(concurrency-mt-unsafe)
    } else {
      ::unsetenv(name);  // NOLINT(concurrency-mt-unsafe)
    }
  }
  const char* name;
  std::optional<std::string> old;
};

TEST(Build, TheCallersEnvironmentDoesNotReachTheImage) {
  Project project;
  // What mmdebstrap does matters less here than what it is told: a tar of its environment, umask,
  // directory, open files and locale's order, made by a tar that TAR_OPTIONS would change.
  FakeDebian fake(
      project,
      "d=$(mktemp -d) && cd \"$d\" && mkdir -m 755 etc && umask > etc/umask && "
      "env | grep -v '^TMPDIR=\\|^PATH=\\|^PWD=\\|^OLDPWD=\\|^_=\\|^SHLVL=' | sort > etc/env && "
      "ls /proc/self/fd > etc/fds && printf 'b\\nA\\na\\n' | sort > etc/order && "
      "tar -c --mtime=@0 --sort=name . && rm -r \"$d\"");
  auto digest = [&](const std::string& output) {
    std::ostringstream out;
    must(run(project.arguments(output), out));
    return must(release::parse_description(project.read(output + "/release.json"))).image.digest;
  };
  verity::Digest plain = digest("plain");

  must(make_directories(AT_FDCWD, project.path("home")));
  must(make_directories(AT_FDCWD, project.path("tmp")));
  project.write("home/.mtoolsrc", "mtools_lower_case=1\n");
  Variable variables[] = {{"TAR_OPTIONS", "--owner=7 --mode=go-w"},
                          {"DPKG_ADMINDIR", "/nonexistent"},
                          {"DPKG_FORCE", "all"},
                          {"DEB_BUILD_OPTIONS", "nocheck"},
                          {"POSIXLY_CORRECT", "1"},
                          {"PERL_UNICODE", "SDA"},
                          {"PERL5OPT", "-Mnonexistent"},
                          {"MTOOLS_LOWER_CASE", "1"},
                          {"APT_CONFIG", "/nonexistent"},
                          {"GZIP", "-9"},
                          {"BASH_ENV", "/nonexistent"},
                          {"LC_ALL", "de_DE.UTF-8"},
                          {"LANGUAGE", "de"},
                          {"TZ", "Asia/Tokyo"},
                          {"SOURCE_DATE_EPOCH", "1"}};
  Variable home("HOME", project.path("home").c_str());
  Variable tmpdir("TMPDIR", project.path("tmp").c_str());
  mode_t old_umask = ::umask(0077);
  int leak = ::dup(STDERR_FILENO);  // NOLINT(android-cloexec-dup): children get it
  verity::Digest hostile = digest("hostile");
  ::close(leak);
  ::umask(old_umask);
  EXPECT_EQ(hostile, plain);
  EXPECT_STREQ(variables[0].name, "TAR_OPTIONS");
}

TEST(Build, WithoutAKernelThereIsNoUki) {
  Project project;
  std::string manifest = Project::manifest("1");
  project.write("m.yaml", manifest.substr(0, manifest.find("kernel:")));
  std::ostringstream out;
  Result<> done = run(project.arguments("out"), out);
  ASSERT_TRUE(done) << done.error().describe();
  EXPECT_THAT(project.names("out"), UnorderedElementsAre("image.cfs", "objects", "packages.json",
                                                         "release.json", "var.txt"));
}

}  // namespace
}  // namespace cfs::builder
