// SPDX-License-Identifier: Apache-2.0
#include "tools/mkcomposefs.h"

#include <gmock/gmock.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "lib/base/interrupt.h"
#include "lib/base/subprocess.h"
#include "lib/verity/merkle.h"
#include "tests/tools/tool_test.h"

namespace cfs::tools {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kVectors[] = "tests/golden/vectors/";
// COMPOSEFS-FORMAT.md §18.
constexpr char kDigestA[] = "8f589e8f57ecb88823736b0d857ddca1e1068a23e264fad164b28f7038eb3682";
constexpr char kDigestAVersion1[] =
    "14a26c957c84f6eb774b91205476adc13196c7c33b9dd97d08d43725ecb90b63";
constexpr char kDigestB[] = "c5b9080ef5ce2f4b41a5d5fb6a312fc38e8f79d0a8cc714894988b4470551c45";
constexpr char kDigestC[] = "5d4fe7db238a7b5ceff372038d1141db8a503efef3bf3f8fa2488d843f93a459";
constexpr char kDigestCVersion0[] =
    "33c9cce57fb4e9a524f71c66f52b107771efb333575bf509300f17648abfc445";

Outcome mkcomposefs(const std::vector<std::string>& arguments, const std::string& input = "") {
  return run(run_mkcomposefs, arguments, input);
}

std::string dump_a() {
  return read_file(AT_FDCWD, std::string(kVectors) + "A.dump", 1 << 20).value();
}

class MkcomposefsTest : public ToolTest {
 protected:
  /// The tree of example B, owned by whoever runs the test.
  void make_source() {
    ASSERT_TRUE(make_directories(AT_FDCWD, path("source/d")));
    write("source/d/big", std::string(100, 'a'));
    write("source/d/hello", "hello");
    ASSERT_EQ(::symlink("hello", path("source/d/link").c_str()), 0);
    ASSERT_EQ(::chmod(path("source").c_str(), 0755), 0);
    ASSERT_EQ(::chmod(path("source/d").c_str(), 0755), 0);
  }
  static std::string source_dump() {
    std::string owner = std::to_string(::getuid()) + " " + std::to_string(::getgid()) + " ";
    return "/ 4096 40755 3 " + owner + "0 0.0 - - -\n/d 4096 40755 2 " + owner +
           "0 0.0 - - -\n/d/big 100 100644 1 " + owner +
           "0 0.0 2a/a7269baa451a6a9de06bd75d2657b4be63d3be65a9e09fb5beee8ed7f26dd4 - "
           "2aa7269baa451a6a9de06bd75d2657b4be63d3be65a9e09fb5beee8ed7f26dd4\n/d/hello 5 100644 "
           "1 " +
           owner + "0 0.0 - hello -\n/d/link 5 120777 1 " + owner + "0 0.0 hello - -\n";
  }
};

TEST_F(MkcomposefsTest, EveryInputAndEveryOutputGiveTheSameImage) {
  make_source();
  write("source.dump", source_dump());
  Outcome from_directory =
      mkcomposefs({"--use-epoch", "--print-digest", path("source"), path("image")});
  ASSERT_TRUE(from_directory.result) << from_directory.result.error().describe();
  const std::string image = read("image");
  const std::string digest = verity::digest_of(as_bytes(image)).hex();
  EXPECT_EQ(from_directory.output, digest + "\n");
  if (::getuid() == 0 && ::getgid() == 0) {
    EXPECT_EQ(digest, kDigestB);
  }

  EXPECT_EQ(mkcomposefs({"--use-epoch", path("source"), "-"}).output, image);
  EXPECT_EQ(mkcomposefs({"--use-epoch", "--print-digest", path("source"), "-"}).output,
            image + digest + "\n");
  EXPECT_EQ(mkcomposefs({"--from-file", path("source.dump"), "-"}).output, image);
  EXPECT_EQ(mkcomposefs({"--from-file", "-", "-"}, source_dump()).output, image);
  EXPECT_EQ(mkcomposefs({"--print-digest-only", "--from-file", "-"}, source_dump()).output,
            digest + "\n");
  for (const char* threads : {"--threads=1", "--threads=7"}) {
    EXPECT_EQ(mkcomposefs({threads, "--use-epoch", path("source"), "-"}).output, image);
  }
  EXPECT_EQ(run_command({.arguments = {"fsverity", "digest", "--compact", path("image")}}).value(),
            digest + "\n");
}

TEST_F(MkcomposefsTest, FillsTheDigestStore) {
  make_source();
  const std::string object = "2a/a7269baa451a6a9de06bd75d2657b4be63d3be65a9e09fb5beee8ed7f26dd4";
  for (int round = 0; round < 2; ++round) {
    Outcome outcome = mkcomposefs({"--digest-store", path("store"), path("source"), path("image")});
    ASSERT_TRUE(outcome.result) << outcome.result.error().describe();
    EXPECT_EQ(outcome.output, "");
    EXPECT_EQ(read("store/" + object), std::string(100, 'a'));
    EXPECT_THAT(names("store"), ElementsAre(".cfs", "2a"));
    EXPECT_THAT(names("store/.cfs/tmp"), ElementsAre());
  }
  // The store changes nothing in the image.
  EXPECT_EQ(mkcomposefs({path("source"), "-"}).output, read("image"));
  // A damaged object is not kept.
  write("store/" + object, std::string(100, 'b'));
  ASSERT_TRUE(mkcomposefs({"--digest-store=" + path("store"), path("source"), "-"}).result);
  EXPECT_EQ(read("store/" + object), std::string(100, 'a'));
}

TEST_F(MkcomposefsTest, HardLinksBecomeSeparateFilesAsUpstreamDoes) {
  make_source();
  std::string separate = mkcomposefs({"--use-epoch", path("source"), "-"}).output;
  ASSERT_EQ(::rename(path("source/d/big").c_str(), path("big").c_str()), 0);
  ASSERT_EQ(::link(path("big").c_str(), path("source/d/big").c_str()), 0);
  EXPECT_EQ(mkcomposefs({"--use-epoch", path("source"), "-"}).output, separate);
}

TEST_F(MkcomposefsTest, VersionOptionsAreUpstreams) {
  struct Case {
    std::vector<std::string> options;
    const char* digest_a;
    const char* digest_c;
  };
  const Case cases[] = {
      {{}, kDigestA, kDigestC},
      {{"--min-version=0"}, kDigestA, kDigestCVersion0},
      {{"--max-version=0"}, kDigestA, kDigestCVersion0},
      {{"--max-version=1"}, kDigestA, kDigestC},
      {{"--min-version=0", "--max-version=1"}, kDigestA, kDigestC},
      {{"--min-version=1"}, kDigestAVersion1, kDigestC},
      {{"--min-version= +1", "--threads=+2"}, kDigestAVersion1, kDigestC},
      {{"--min-version=1", "--max-version=0"}, kDigestAVersion1, kDigestC},
      {{"--max-version=0", "--max-version", "1"}, kDigestA, kDigestC},  // the last one counts
  };
  for (const Case& test : cases) {
    for (auto [name, digest] : {std::pair("A.dump", test.digest_a), {"C.dump", test.digest_c}}) {
      std::vector<std::string> arguments = test.options;
      arguments.insert(arguments.end(),
                       {"--print-digest-only", "--from-file", std::string(kVectors) + name});
      EXPECT_EQ(mkcomposefs(arguments).output, std::string(digest) + "\n")
          << name << " " << testing::PrintToString(test.options);
    }
  }
  for (const char* option : {"--min-version=2", "--max-version=2"}) {
    EXPECT_FALSE(mkcomposefs({option, "--print-digest-only", "--from-file",
                              std::string(kVectors) + "A.dump"})
                     .result);
  }
}

TEST_F(MkcomposefsTest, WrongCommandLinesAreRefused) {
  make_source();
  const std::string source = path("source");
  const std::string image = path("image");
  const std::vector<std::vector<std::string>> wrong = {
      {},
      {source},
      {"", image},
      {source, image, "more"},
      {"--print-digest-only", source, image},
      {"--print-digest-only"},
      {"--no-such-option", source, image},
      {"--threads=0", source, image},
      {"--threads=x", source, image},
      {"--threads=-1", source, image},
      {"--min-version=x", source, image},
      {"--max-version=", source, image},
      {"--min-version=-1", source, image},
      {"--max-version=99999999999", source, image},
      {"--skip-xattrs", "--user-xattrs", source, image},
      {source, image, "--digest-store"},
  };
  for (const std::vector<std::string>& arguments : wrong) {
    Outcome outcome = mkcomposefs(arguments);
    ASSERT_FALSE(outcome.result) << testing::PrintToString(arguments);
    EXPECT_EQ(outcome.result.error().code, ErrorCode::kUsage);
    EXPECT_EQ(outcome.output, "");
  }
  EXPECT_THAT(names("."), ElementsAre("source"));
  EXPECT_THAT(mkcomposefs({"--help"}).output, AllOf(HasSubstr("SOURCE"), HasSubstr("--threads")));
}

TEST_F(MkcomposefsTest, OptionsForDirectoriesDoNotMatterToADump) {
  EXPECT_EQ(
      mkcomposefs({"--from-file", "--skip-xattrs", "--user-xattrs", "--use-epoch", "--skip-devices",
                   "--digest-store=" + path("store"), "--print-digest-only", "-"},
                  dump_a())
          .output,
      std::string(kDigestA) + "\n");
  EXPECT_THAT(names("."), ElementsAre());
}

TEST_F(MkcomposefsTest, ErrorsNameTheFile) {
  make_source();
  write("bad.dump", "/ 4096 40755 2 0 0 0 0.0 - - -\nnonsense\n");
  write("file", "x");
  const std::pair<std::vector<std::string>, std::string> cases[] = {
      {{path("missing"), path("image")}, path("missing")},
      {{path("file"), path("image")}, path("file")},
      {{"--from-file", path("missing"), path("image")}, path("missing")},
      {{"--from-file", path("bad.dump"), path("image")}, "line 2"},
      {{path("source"), path("missing/image")}, path("missing/image")},
      {{"--digest-store=" + path("file"), path("source"), path("image")}, path("file")},
  };
  for (const auto& [arguments, name] : cases) {
    Outcome outcome = mkcomposefs(arguments);
    ASSERT_FALSE(outcome.result);
    EXPECT_THAT(outcome.result.error().describe(), HasSubstr(name));
  }
  EXPECT_THAT(names("."), ElementsAre("bad.dump", "file", "source"));
}

// --- The output file ---

TEST_F(MkcomposefsTest, AFailureLeavesTheOldImage) {
  write("image", "old");
  EXPECT_FALSE(mkcomposefs({"--from-file", "-", path("image")}, "nonsense\n").result);
  EXPECT_EQ(read("image"), "old");
  EXPECT_THAT(names("."), ElementsAre("image"));
}

TEST_F(MkcomposefsTest, ReplacesTheFileNotTheSymlinkAndKeepsItsMode) {
  write("image", "old", 0600);
  ASSERT_EQ(::symlink("image", path("link").c_str()), 0);
  ASSERT_TRUE(mkcomposefs({"--from-file", "-", path("link")}, dump_a()).result);
  struct stat link = stat_at(AT_FDCWD, path("link"), AT_SYMLINK_NOFOLLOW).value();
  EXPECT_TRUE(S_ISLNK(link.st_mode));
  EXPECT_EQ(verity::digest_of(as_bytes(read("image"))).hex(), kDigestA);
  EXPECT_EQ(stat_at(AT_FDCWD, path("image"), 0).value().st_mode & 07777, 0600U);
}

TEST_F(MkcomposefsTest, ADeviceIsWrittenTo) {
  EXPECT_TRUE(mkcomposefs({"--from-file", "-", "/dev/null"}, dump_a()).result);
  EXPECT_TRUE(S_ISCHR(stat_at(AT_FDCWD, "/dev/null", 0).value().st_mode));
}

/// Waits for a child process and returns its exit status.
int in_child(const std::function<int()>& body) {
  pid_t pid = ::fork();
  if (pid == 0) ::_exit(body());
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

TEST_F(MkcomposefsTest, ADescriptorsNameIsWrittenToWhereItIs) {
  UniqueFd anonymous(::memfd_create("image", MFD_CLOEXEC));
  UniqueFd regular = open_at(AT_FDCWD, path("image"), O_RDWR | O_CREAT, 0644).value();
  for (int fd : {anonymous.get(), regular.get()}) {
    ASSERT_TRUE(write_full(fd, as_bytes(std::string(50'000, 'o'))));
    std::string name = "/dev/fd/" + std::to_string(fd);
    ASSERT_TRUE(mkcomposefs({"--from-file", "-", name}, dump_a()).result) << name;
    ASSERT_EQ(::lseek(fd, 0, SEEK_SET), 0);
    std::string image = read_fd(fd, 1 << 20).value();
    EXPECT_EQ(verity::digest_of(as_bytes(image)).hex(), kDigestA) << name;
  }
  EXPECT_THAT(names("."), ElementsAre("image"));
  ASSERT_EQ(::symlink(("/dev/fd/" + std::to_string(regular.get())).c_str(), path("link").c_str()),
            0);
  ASSERT_TRUE(mkcomposefs({"--from-file", "-", path("link")}, dump_a()).result);
  EXPECT_EQ(fstat_fd(regular.get()).value().st_nlink, 1U)
      << "replaced behind the descriptor's back";
}

TEST_F(MkcomposefsTest, AllNamesOfAFileSeeTheNewImage) {
  write("image", "old");
  ASSERT_EQ(::link(path("image").c_str(), path("other").c_str()), 0);
  ASSERT_TRUE(mkcomposefs({"--from-file", "-", path("image")}, dump_a()).result);
  EXPECT_EQ(verity::digest_of(as_bytes(read("other"))).hex(), kDigestA);
}

TEST_F(MkcomposefsTest, ASymlinkToAFileToBeMadeStays) {
  ASSERT_EQ(::symlink("image", path("link").c_str()), 0);
  ASSERT_TRUE(mkcomposefs({"--from-file", "-", path("link")}, dump_a()).result);
  EXPECT_EQ(verity::digest_of(as_bytes(read("image"))).hex(), kDigestA);
  EXPECT_TRUE(S_ISLNK(stat_at(AT_FDCWD, path("link"), AT_SYMLINK_NOFOLLOW).value().st_mode));
}

TEST_F(MkcomposefsTest, AReplacedFileKeepsModeAndOwner) {
  write("image", "old");
  ASSERT_EQ(::chmod(path("image").c_str(), 0666), 0);
  bool is_root = ::geteuid() == 0;
  if (is_root) {
    ASSERT_EQ(::chown(path("image").c_str(), 12, 34), 0);
  }
  ASSERT_TRUE(mkcomposefs({"--from-file", "-", path("image")}, dump_a()).result);
  struct stat status = stat_at(AT_FDCWD, path("image"), 0).value();
  EXPECT_EQ(status.st_mode & 07777, 0666U) << "whatever the umask";
  EXPECT_EQ(status.st_uid, is_root ? 12U : ::getuid());
  if (is_root) {
    EXPECT_EQ(status.st_gid, 34U);
  }
}

TEST_F(MkcomposefsTest, AMountPointIsWrittenToWhereItIs) {
  write("below", "old");
  write("image", "mounted over");
  int status = in_child([&] {
    int spaces = CLONE_NEWNS | (::geteuid() == 0 ? 0 : CLONE_NEWUSER);
    if (::unshare(spaces) != 0) return 1;
    // EINVAL: / is no mount point (a chroot). The mount below is then undone by hand.
    if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 && errno != EINVAL) {
      return 2;
    }
    if (::mount(path("below").c_str(), path("image").c_str(), nullptr, MS_BIND, nullptr) != 0) {
      return 3;
    }
    bool made = mkcomposefs({"--from-file", "-", path("image")}, dump_a()).result.has_value();
    if (::umount2(path("image").c_str(), MNT_DETACH) != 0) return 4;
    return made ? 0 : 5;
  });
  ASSERT_EQ(status, 0) << "needs root or user namespaces to mount";
  EXPECT_EQ(verity::digest_of(as_bytes(read("below"))).hex(), kDigestA);
  EXPECT_EQ(read("image"), "mounted over");
  EXPECT_THAT(names("."), ElementsAre("below", "image"));
}

TEST_F(MkcomposefsTest, WhatOnlyTheFileItselfAllowsIsEnough) {
  // Directory and file: may they be written to by somebody who is neither owner nor root?
  ASSERT_EQ(::chmod(directory_.path().c_str(), 0755), 0);
  for (mode_t directory : {0555U, 01777U}) {
    SCOPED_TRACE(directory);
    ASSERT_TRUE(make_directories(AT_FDCWD, path("here")));
    write("here/image", "old");
    write("here/locked", "old");
    ASSERT_EQ(::chmod(path("here/locked").c_str(), 0444), 0);
    ASSERT_EQ(::chmod(path("here/image").c_str(), 0666), 0);
    ASSERT_EQ(::chmod(path("here").c_str(), directory), 0);
    int status = in_child([&] {
      if (::geteuid() == 0 && ::setresuid(12345, 12345, 12345) != 0) return 1;
      if (mkcomposefs({"--from-file", "-", path("here/locked")}, dump_a()).result) return 2;
      return mkcomposefs({"--from-file", "-", path("here/image")}, dump_a()).result ? 0 : 3;
    });
    ASSERT_EQ(status, 0);
    EXPECT_EQ(verity::digest_of(as_bytes(read("here/image"))).hex(), kDigestA);
    EXPECT_EQ(read("here/locked"), "old");
    EXPECT_THAT(names("here"), ElementsAre("image", "locked"));
    ASSERT_EQ(::chmod(path("here").c_str(), 0755), 0);
    ASSERT_TRUE(remove_tree(AT_FDCWD, path("here")));
  }
}

TEST_F(MkcomposefsTest, ADirectoryThatCannotBeOpenedWillDo) {
  ASSERT_TRUE(make_directories(AT_FDCWD, path("drop")));
  ASSERT_EQ(::chmod(directory_.path().c_str(), 0755), 0);
  ASSERT_EQ(::chmod(path("drop").c_str(), 01333), 0);
  EXPECT_EQ(in_child([&] {
              if (::geteuid() == 0 && ::setresuid(12345, 12345, 12345) != 0) return 1;
              return mkcomposefs({"--from-file", "-", path("drop/image")}, dump_a()).result ? 0 : 2;
            }),
            0);
  ASSERT_EQ(::chmod(path("drop").c_str(), 0755), 0);
  EXPECT_EQ(verity::digest_of(as_bytes(read("drop/image"))).hex(), kDigestA);
}

/// Runs mkcomposefs in a child after `prepare` and returns the code of its error, if it fails.
std::optional<ErrorCode> error_in_child(const std::function<void()>& prepare,
                                        const std::vector<std::string>& arguments,
                                        const std::string& input) {
  constexpr int kNoError = 200;
  pid_t pid = ::fork();
  if (pid == 0) {
    prepare();
    Outcome outcome = mkcomposefs(arguments, input);
    ::_exit(outcome.result ? kNoError : static_cast<int>(outcome.result.error().code));
  }
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(WIFEXITED(status)) << status;
  if (WEXITSTATUS(status) == kNoError) return std::nullopt;
  return static_cast<ErrorCode>(WEXITSTATUS(status));
}

TEST_F(MkcomposefsTest, AFullDiskLeavesNoHalfImage) {
  auto limit_files = [] {
    (void)::signal(SIGXFSZ, SIG_IGN);
    rlimit limit = {.rlim_cur = 9000, .rlim_max = RLIM_INFINITY};
    (void)::setrlimit(RLIMIT_FSIZE, &limit);
  };
  EXPECT_EQ(error_in_child(limit_files, {"--from-file", "-", path("image")}, dump_a()),
            ErrorCode::kNoSpace);
  EXPECT_THAT(names("."), ElementsAre());
  make_source();
  write("source/d/large", std::string(10'000, 'l'));
  EXPECT_EQ(error_in_child(limit_files,
                           {"--digest-store=" + path("store"), path("source"), path("image")}, ""),
            ErrorCode::kNoSpace);
  EXPECT_THAT(names("."), ElementsAre("source", "store"));
  EXPECT_THAT(names("store"), ElementsAre(".cfs"));
  EXPECT_THAT(names("store/.cfs/tmp"), ElementsAre());
}

TEST_F(MkcomposefsTest, AnInterruptLeavesNoHalfImage) {
  auto interrupt = [] {
    catch_interrupts();
    (void)::raise(SIGINT);
  };
  EXPECT_EQ(error_in_child(interrupt, {"--from-file", "-", path("image")}, dump_a()),
            ErrorCode::kInterrupted);
  EXPECT_THAT(names("."), ElementsAre());
  make_source();
  EXPECT_EQ(error_in_child(interrupt,
                           {"--digest-store=" + path("store"), path("source"), path("image")}, ""),
            ErrorCode::kInterrupted);
  EXPECT_THAT(names("."), ElementsAre("source", "store"));
  EXPECT_THAT(names("store"), ElementsAre());
}

// --- The program itself ---

TEST_F(MkcomposefsTest, TheProgramExitsWith1AndOneLine) {
  EXPECT_EQ(run_command({.arguments = {CFS_MKCOMPOSEFS, "--print-digest-only", "--from-file",
                                       std::string(kVectors) + "A.dump"}})
                .value(),
            std::string(kDigestA) + "\n");
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{CFS_MKCOMPOSEFS, path("missing"), path("image")},
        std::vector<std::string>{CFS_MKCOMPOSEFS}}) {
    Result<std::string> failed = run_command({.arguments = arguments});
    ASSERT_FALSE(failed);
    EXPECT_THAT(failed.error().message,
                AllOf(HasSubstr("status 1"), HasSubstr("mkcomposefs: error: ")));
  }
}

}  // namespace
}  // namespace cfs::tools
