// SPDX-License-Identifier: Apache-2.0
#include "lib/boot/systemd_boot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "lib/base/io.h"
#include "lib/boot/test_programs.h"

namespace {
/// What the directory held that was synced last.
std::vector<std::string> synced_names;
}  // namespace

/// In place of the C library's.
extern "C" int fsync(int fd) {
  cfs::Result<std::vector<std::string>> names = cfs::list_directory(fd, ".");
  if (names) synced_names = *names;
  return static_cast<int>(::syscall(SYS_fsync, fd));
}

namespace cfs::boot {
namespace {

using ::testing::ElementsAre;
using ::testing::StartsWith;

class SystemdBootTest : public ::testing::Test {
 protected:
  [[nodiscard]] std::string path(const std::string& name) const { return dir_.path() + "/" + name; }
  [[nodiscard]] std::string uki_path(const std::string& name) const {
    return path("esp/EFI/Linux/" + name);
  }
  /// Writes a UKI that pins sixty-four times `digit` and opens it.
  UniqueFd uki(char digit) {
    std::string file = path(std::string("uki-") + digit);
    EXPECT_TRUE(write_file_atomically(AT_FDCWD, file,
                                      make_test_uki("composefs.digest=" + std::string(64, digit))));
    return open_at(AT_FDCWD, file, O_RDONLY).value();
  }
  SystemdBoot open() {
    EXPECT_TRUE(make_directories(AT_FDCWD, path("esp")));
    return SystemdBoot::open(AT_FDCWD, path("esp"), path("efivars")).value();
  }
  std::string loader_conf_text() {
    return read_file(AT_FDCWD, path("esp/loader/loader.conf"), 10'000).value();
  }
  std::vector<std::string> names() {
    return list_directory(AT_FDCWD, path("esp/EFI/Linux")).value();
  }
  ino_t loader_conf_inode() {
    return stat_at(AT_FDCWD, path("esp/loader/loader.conf"), 0).value().st_ino;
  }
  TemporaryDirectory dir_ = TemporaryDirectory::create().value();
};

TEST_F(SystemdBootTest, EntriesAreFilesAndLoaderConfNamesOne) {
  SystemdBoot loader = open();
  ASSERT_TRUE(loader.install("b", uki('b').get(), {}));
  ASSERT_TRUE(loader.install("a", uki('a').get(), {}));
  EXPECT_THAT(names(), ElementsAre("a.efi", "b.efi"));
  EXPECT_EQ(loader.chosen().value(), std::nullopt);  // installing is not switching
  ASSERT_TRUE(loader.set_next("b"));
  EXPECT_THAT(loader_conf_text(), StartsWith("default b[+.][1-9e]*\ntimeout 0\neditor no\n"));
  ASSERT_TRUE(loader.set_tries("b", 3));
  EXPECT_THAT(names(), ElementsAre("a.efi", "b+3.efi"));
  EXPECT_EQ(loader.chosen().value(), "b");
  ASSERT_TRUE(loader.set_tries("b", std::nullopt));
  EXPECT_THAT(names(), ElementsAre("a.efi", "b.efi"));
  ASSERT_TRUE(loader.set_tries("a", 1));
  ASSERT_TRUE(loader.remove("a"));
  EXPECT_THAT(names(), ElementsAre("b.efi"));
}

TEST_F(SystemdBootTest, ADirectoryThatIsCalledLikeAnEntryIsNone) {
  SystemdBoot loader = open();
  ASSERT_TRUE(loader.install("b", uki('b').get(), {}));
  ASSERT_TRUE(make_directories(AT_FDCWD, uki_path("a.efi")));
  Result<std::vector<BootEntry>> entries = loader.list();
  ASSERT_TRUE(entries) << entries.error().describe();
  ASSERT_EQ(entries->size(), 1U);
  EXPECT_EQ(entries->front().id, "b");
}

TEST_F(SystemdBootTest, LoaderConfIsReplacedWithinOneSector) {
  SystemdBoot loader = open();
  const std::string long_id(180, 'x');
  ASSERT_TRUE(loader.install("a", uki('a').get(), {}));
  ASSERT_TRUE(loader.install(long_id, uki('b').get(), {}));
  ASSERT_TRUE(loader.set_next("a"));
  ino_t inode = loader_conf_inode();
  EXPECT_EQ(loader_conf_text().size(), 512U);
  ASSERT_TRUE(loader.set_next(long_id));
  EXPECT_EQ(loader_conf_inode(), inode);
  EXPECT_EQ(loader_conf_text(), loader_conf(long_id).value());
  ASSERT_TRUE(loader.set_next("a"));
  EXPECT_EQ(loader_conf_text(), loader_conf("a").value());
}

TEST_F(SystemdBootTest, AForeignLoaderConfIsReadAsSdBootDoesAndReplaced) {
  SystemdBoot loader = open();
  ASSERT_TRUE(loader.install("a", uki('a').get(), {}));
  auto next = [&](std::string_view text) {
    EXPECT_TRUE(write_file_atomically(AT_FDCWD, path("esp/loader/loader.conf"), as_bytes(text)));
    return loader.chosen().value();
  };
  EXPECT_EQ(
      next("# default no.efi\ndefaults no\n\n default\tone.efi \r\ndefault two.efi\ntimeout 5"),
      "two");
  EXPECT_EQ(next("default cfs_1_0123456789ab.0.efi\n"), "cfs_1_0123456789ab.0");  // of cfs 0.1
  EXPECT_EQ(next("default a+2-1.efi"), "a");
  EXPECT_EQ(next("default a[+.]*"), "a");  // of cfs 0.1 too
  EXPECT_EQ(next("default a[+.][1-9e]*"), "a");
  for (const char* foreign : {"", "timeout 5", "default", "default @saved", "default two*",
                              "default x.conf", "default *[+.]*", "default [+.][1-9e]*"}) {
    EXPECT_EQ(next(foreign), std::nullopt) << foreign;
  }
  ASSERT_TRUE(loader.set_next("a"));
  EXPECT_EQ(loader_conf_text(), loader_conf("a").value());
}

TEST_F(SystemdBootTest, AHugeLoaderConfIsReplaced) {
  SystemdBoot loader = open();
  ASSERT_TRUE(loader.install("a", uki('a').get(), {}));
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, path("esp/loader/loader.conf"),
                                    as_bytes("default a.efi\n" + std::string(100'000, '#'))));
  Result<std::optional<std::string>> next = loader.chosen();
  ASSERT_TRUE(next) << next.error().describe();
  EXPECT_EQ(*next, std::nullopt);
  ASSERT_TRUE(loader.install("b", uki('b').get(), {}));
  ASSERT_TRUE(loader.set_next("a"));
  EXPECT_EQ(loader_conf_text(), loader_conf("a").value());
}

TEST_F(SystemdBootTest, InstallingAgainKeepsTheFileAndHealsABrokenOne) {
  SystemdBoot loader = open();
  ASSERT_TRUE(loader.install("a", uki('a').get(), {}));
  ino_t inode = stat_at(AT_FDCWD, uki_path("a.efi"), 0).value().st_ino;
  ASSERT_TRUE(loader.install("a", uki('a').get(), {}));
  EXPECT_EQ(stat_at(AT_FDCWD, uki_path("a.efi"), 0).value().st_ino, inode);

  // Cut short by a power failure: listed without a digest, never next, replaced.
  ASSERT_EQ(::truncate(uki_path("a.efi").c_str(), 1000), 0);
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, uki_path("b.efi.cfs-new"), as_bytes("half")));
  EXPECT_EQ(loader.list().value().at(0).digest, std::nullopt);
  EXPECT_EQ(loader.set_next("a").error().code, ErrorCode::kCorrupt);
  ASSERT_TRUE(loader.install("a", uki('a').get(), {}));
  EXPECT_EQ(loader.list().value().at(0).digest->hex(), std::string(64, 'a'));
  EXPECT_THAT(names(), ElementsAre("a.efi"));
}

TEST_F(SystemdBootTest, TwoFilesOfOneEntryAreOne) {
  // What a power cut in a renaming can leave: both names, one of them perhaps empty.
  SystemdBoot loader = open();
  ASSERT_TRUE(loader.install("a", uki('a').get(), {}));
  ASSERT_TRUE(loader.set_tries("a", 3));
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, uki_path("a.efi"), {}));
  std::vector<BootEntry> entries = loader.list().value();
  ASSERT_EQ(entries.size(), 1U);
  EXPECT_EQ(entries[0].digest->hex(), std::string(64, 'a'));
  EXPECT_EQ(entries[0].tries, (Tries{3, 0}));
  ASSERT_TRUE(loader.set_next("a"));
  ASSERT_TRUE(loader.set_tries("a", std::nullopt));
  EXPECT_THAT(names(), ElementsAre("a.efi"));
  EXPECT_EQ(loader.list().value()[0].digest->hex(), std::string(64, 'a'));
}

TEST_F(SystemdBootTest, NoOtherFileOfAnEntryStays) {
  SystemdBoot loader = open();
  auto install = [&] { return loader.install("a", uki('a').get(), 3); };
  auto put_other = [&](const std::string& name) {
    std::filesystem::copy_file(path("uki-b"), uki_path(name));
  };
  uki('b');
  ASSERT_TRUE(install());
  put_other("a+2-1.efi");
  ASSERT_TRUE(install());  // it is there already
  EXPECT_THAT(names(), ElementsAre("a+3.efi"));
  EXPECT_EQ(synced_names, names());

  put_other("a+2-1.efi");
  ASSERT_EQ(::truncate(uki_path("a+3.efi").c_str(), 1000), 0);
  ASSERT_TRUE(install());
  EXPECT_THAT(names(), ElementsAre("a+3.efi"));
  EXPECT_EQ(synced_names, names());

  put_other("a+2-1.efi");
  ASSERT_TRUE(loader.set_tries("a", 5));
  EXPECT_THAT(names(), ElementsAre("a+5.efi"));
  EXPECT_EQ(synced_names, names());
}

TEST_F(SystemdBootTest, AFileThatIsRenamedMeanwhileIsFound) {
  SystemdBoot loader = open();
  UniqueFd content = uki('a');
  ASSERT_TRUE(loader.install("a", content.get(), 3));
  std::atomic<bool> is_done = false;
  std::thread renamer([&] {
    for (int i = 0; i < 1000; ++i) {
      const bool is_even = i % 2 == 0;
      std::filesystem::rename(uki_path(is_even ? "a+3.efi" : "a+2-1.efi"),
                              uki_path(is_even ? "a+2-1.efi" : "a+3.efi"));
      std::this_thread::sleep_for(std::chrono::microseconds(300));
    }
    is_done = true;
  });
  while (!is_done) {
    Result<std::vector<BootEntry>> entries = loader.list();
    EXPECT_TRUE(entries) << entries.error().describe();
    Result<std::optional<NextBoot>> next = loader.next();
    EXPECT_TRUE(next) << next.error().describe();
    Result<bool> holds = loader.holds("a", content.get());
    EXPECT_TRUE(holds) << holds.error().describe();
    if (HasFailure()) break;
  }
  renamer.join();
}

TEST_F(SystemdBootTest, ALoaderConfThatCannotBeReadChoosesNothing) {
  {
    SystemdBoot loader = open();
    ASSERT_TRUE(loader.install("a", uki('a').get(), {}));
    ASSERT_TRUE(loader.set_next("a"));
  }
  pid_t child = ::fork();
  if (child == 0) {
    // As root, or as anybody where user namespaces are allowed. EINVAL: see object_store_test.cc.
    if (::unshare(CLONE_NEWNS) != 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) ::_exit(60);
    if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 && errno != EINVAL) {
      ::_exit(61);
    }
    // Reading this file from its beginning gives EIO.
    const std::string loader_conf = path("esp/loader/loader.conf");
    if (::mount("/proc/self/mem", loader_conf.c_str(), nullptr, MS_BIND, nullptr) != 0) {
      ::_exit(62);
    }
    if (read_file(AT_FDCWD, loader_conf, 512).error().sys_errno != EIO) ::_exit(63);
    SystemdBoot loader = open();
    Result<std::optional<std::string>> chosen = loader.chosen();
    Result<std::optional<NextBoot>> next = loader.next();
    ::umount2(loader_conf.c_str(), MNT_DETACH);
    if (!chosen || !next) ::_exit(1);
    ::_exit(!chosen->has_value() && next->value().reason == NextBoot::Reason::kFirst ? 0 : 2);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  ASSERT_LT(WEXITSTATUS(status), 60) << "needs root or user namespaces to mount";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(SystemdBootTest, AnEntryIsNotRenamedToBeGood) {
  SystemdBoot loader = open();
  for (const char* name : {"a+0.efi", "a+3.efi", "a+2-1.efi", "a+0-3.efi"}) {
    ASSERT_TRUE(loader.install("a", uki('a').get(), {}));
    std::filesystem::rename(uki_path("a.efi"), uki_path(name));
    UniqueFd before = open_at(AT_FDCWD, uki_path(name), O_RDONLY).value();
    ASSERT_TRUE(loader.set_tries("a", std::nullopt));
    EXPECT_THAT(names(), ElementsAre("a.efi"));
    EXPECT_EQ(loader.list().value()[0].digest->hex(), std::string(64, 'a'));
    EXPECT_NE(fstat_fd(before.get()).value().st_ino,
              stat_at(AT_FDCWD, uki_path("a.efi"), 0).value().st_ino)
        << name;
  }
}

// Where it cannot be copied: the temporary file's name is taken by what cannot be removed.
TEST_F(SystemdBootTest, AnEntryThatCannotBeCopiedIsRenamed) {
  SystemdBoot loader = open();
  ASSERT_TRUE(loader.install("a", uki('a').get(), 3));
  ASSERT_TRUE(make_directories(AT_FDCWD, uki_path("a.efi.cfs-new/full")));
  ASSERT_TRUE(loader.set_tries("a", std::nullopt));
  EXPECT_THAT(names(), ElementsAre("a.efi", "a.efi.cfs-new"));
}

// A cut came after an entry was copied, and before the old file was removed.
TEST_F(SystemdBootTest, TheSecondFileOfAnEntryIsRemoved) {
  SystemdBoot loader = open();
  ASSERT_TRUE(loader.install("a", uki('a').get(), {}));
  ASSERT_TRUE(loader.install("b", uki('b').get(), {}));
  std::filesystem::copy_file(uki_path("a.efi"), uki_path("a+2-1.efi"));
  std::filesystem::copy_file(uki_path("a.efi"), uki_path("b+2-1.efi"));  // it may be of use
  // Another system's, which may count with them.
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, uki_path("c.efi"), as_bytes("a program")));
  std::filesystem::copy_file(uki_path("c.efi"), uki_path("c+3.efi"));
  ASSERT_TRUE(loader.remove_doubles());
  EXPECT_THAT(names(), ElementsAre("a.efi", "b+2-1.efi", "b.efi", "c+3.efi", "c.efi"));
}

TEST_F(SystemdBootTest, RefusesWhatIsNotThereOrNotAUki) {
  SystemdBoot loader = open();
  EXPECT_EQ(loader.set_next("a").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(loader.chosen().value(), std::nullopt);
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, path("text"), as_bytes("no UKI")));
  UniqueFd text = open_at(AT_FDCWD, path("text"), O_RDONLY).value();
  EXPECT_EQ(loader.install("a", text.get(), {}).error().code, ErrorCode::kCorrupt);
  EXPECT_TRUE(list_directory(AT_FDCWD, path("esp/EFI/Linux")).value().empty());
  EXPECT_EQ(SystemdBoot::open(AT_FDCWD, path("missing"), "").error().code, ErrorCode::kNotFound);
}

TEST_F(SystemdBootTest, AKilledInstallLeavesNothingThatTheBootLoaderTakes) {
  SystemdBoot loader = open();
  ASSERT_TRUE(loader.install("a", uki('a').get(), {}));
  ASSERT_TRUE(loader.set_next("a"));
  // A UKI that takes a while to copy.
  UniqueFd large = uki('b');
  ASSERT_EQ(::truncate(path("uki-b").c_str(), off_t{1} << 30), 0);
  pid_t child = ::fork();
  if (child == 0) {
    (void)loader.install("b", large.get(), {});
    ::_exit(0);
  }
  while (!stat_at(AT_FDCWD, uki_path("b.efi.cfs-new"), 0)) ::usleep(1000);
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status)) << "the copy was finished too soon";
  EXPECT_THAT(names(), ElementsAre("a.efi", "b.efi.cfs-new"));
  EXPECT_EQ(loader.list().value().size(), 1U);
  // And one that a cut while loader.conf was made has left.
  ASSERT_TRUE(
      write_file_atomically(AT_FDCWD, path("esp/loader/loader.conf.cfs-new"), as_bytes("de")));
  ASSERT_TRUE(loader.install("c", uki('c').get(), {}));
  EXPECT_THAT(names(), ElementsAre("a.efi", "c.efi"));
  EXPECT_THAT(list_directory(AT_FDCWD, path("esp/loader")).value(), ElementsAre("loader.conf"));
}

TEST_F(SystemdBootTest, WhatIsNoFileIsNoEntry) {
  SystemdBoot loader = open();
  ASSERT_TRUE(make_directories(AT_FDCWD, uki_path("directory.efi")));
  ASSERT_EQ(::mkfifo(uki_path("fifo.efi").c_str(), 0600), 0);
  ASSERT_TRUE(loader.install("a", uki('a').get(), {}));
  ASSERT_EQ(loader.list().value().size(), 1U);
  EXPECT_EQ(loader.list().value()[0].id, "a");
}

}  // namespace
}  // namespace cfs::boot
