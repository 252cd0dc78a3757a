// SPDX-License-Identifier: Apache-2.0
#include "lib/boot/esp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/boot/test_programs.h"

namespace cfs::boot {
namespace {

using ::testing::ElementsAre;
using ::testing::StartsWith;

class EspTest : public ::testing::Test {
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
  Esp open() {
    EXPECT_TRUE(make_directories(AT_FDCWD, path("esp")));
    return Esp::open(AT_FDCWD, path("esp")).value();
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

TEST_F(EspTest, InstallsListsSwitchesAndRemoves) {
  Esp esp = open();
  EXPECT_TRUE(esp.list().value().empty());
  EXPECT_EQ(esp.default_entry().value(), std::nullopt);
  ASSERT_TRUE(esp.install("b.efi", uki('b').get()));
  ASSERT_TRUE(esp.install("a.efi", uki('a').get()));
  EXPECT_EQ(esp.default_entry().value(), std::nullopt);  // installing is not switching

  std::vector<BootEntry> entries = esp.list().value();
  ASSERT_EQ(entries.size(), 2U);
  EXPECT_EQ(entries[0].name, "a.efi");
  EXPECT_EQ(entries[0].digest->hex(), std::string(64, 'a'));
  EXPECT_EQ(entries[1].digest->hex(), std::string(64, 'b'));

  ASSERT_TRUE(esp.set_default("b.efi"));
  EXPECT_EQ(esp.default_entry().value(), "b.efi");
  EXPECT_THAT(loader_conf_text(), StartsWith("default b.efi\ntimeout 0\neditor no\n"));
  EXPECT_EQ(esp.remove("B.EFI").error().code, ErrorCode::kInvalidInput);
  EXPECT_EQ(esp.remove("b.efi").error().code, ErrorCode::kBusy);
  ASSERT_TRUE(esp.set_default("a.efi"));
  ASSERT_TRUE(esp.remove("b.efi"));
  ASSERT_TRUE(esp.remove("b.efi"));
  EXPECT_EQ(esp.list().value().size(), 1U);
  EXPECT_THAT(list_directory(AT_FDCWD, path("esp/EFI/Linux")).value(), ElementsAre("a.efi"));
}

TEST_F(EspTest, ADirectoryThatIsCalledLikeAnEntryIsNone) {
  Esp esp = open();
  ASSERT_TRUE(esp.install("b.efi", uki('b').get()));
  ASSERT_TRUE(make_directories(AT_FDCWD, uki_path("a.efi")));
  Result<std::vector<BootEntry>> entries = esp.list();
  ASSERT_TRUE(entries) << entries.error().describe();
  ASSERT_EQ(entries->size(), 1U);
  EXPECT_EQ(entries->front().name, "b.efi");
}

TEST_F(EspTest, LoaderConfIsReplacedWithinOneSector) {
  Esp esp = open();
  const std::string long_name = std::string(190, 'x') + ".efi";
  ASSERT_TRUE(esp.install("a.efi", uki('a').get()));
  ASSERT_TRUE(esp.install(long_name, uki('b').get()));
  ASSERT_TRUE(esp.set_default("a.efi"));
  ino_t inode = loader_conf_inode();
  EXPECT_EQ(loader_conf_text().size(), 512U);
  ASSERT_TRUE(esp.set_default(long_name));
  EXPECT_EQ(loader_conf_inode(), inode);
  EXPECT_EQ(loader_conf_text(), loader_conf(long_name).value());
  ASSERT_TRUE(esp.set_default("a.efi"));
  EXPECT_EQ(loader_conf_text(), loader_conf("a.efi").value());
}

TEST_F(EspTest, AForeignLoaderConfIsReadAsSdBootDoesAndReplaced) {
  Esp esp = open();
  ASSERT_TRUE(esp.install("a.efi", uki('a').get()));
  ASSERT_TRUE(write_file_atomically(
      AT_FDCWD, path("esp/loader/loader.conf"),
      as_bytes("# default no.efi\ndefaults no\n\n default\tone.efi \r\ndefault two*\ntimeout 5")));
  EXPECT_EQ(esp.default_entry().value(), "two*");
  ASSERT_TRUE(esp.set_default("a.efi"));
  EXPECT_EQ(loader_conf_text(), loader_conf("a.efi").value());
}

TEST_F(EspTest, InstallingAgainKeepsTheFileAndHealsABrokenOne) {
  Esp esp = open();
  ASSERT_TRUE(esp.install("a.efi", uki('a').get()));
  ino_t inode = stat_at(AT_FDCWD, uki_path("a.efi"), 0).value().st_ino;
  ASSERT_TRUE(esp.install("a.efi", uki('a').get()));
  EXPECT_EQ(stat_at(AT_FDCWD, uki_path("a.efi"), 0).value().st_ino, inode);

  // Cut short by a power failure: listed without a digest, never the default, replaced.
  ASSERT_EQ(::truncate(uki_path("a.efi").c_str(), 1000), 0);
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, uki_path("b.efi.cfs-new"), as_bytes("half")));
  EXPECT_EQ(esp.list().value().at(0).digest, std::nullopt);
  EXPECT_EQ(esp.set_default("a.efi").error().code, ErrorCode::kCorrupt);
  ASSERT_TRUE(esp.install("a.efi", uki('a').get()));
  EXPECT_EQ(esp.list().value().at(0).digest->hex(), std::string(64, 'a'));
  EXPECT_THAT(list_directory(AT_FDCWD, path("esp/EFI/Linux")).value(), ElementsAre("a.efi"));

  ASSERT_TRUE(esp.set_default("a.efi"));
  EXPECT_EQ(esp.install("a.efi", uki('b').get()).error().code, ErrorCode::kExists);
  EXPECT_EQ(esp.list().value().at(0).digest->hex(), std::string(64, 'a'));
}

TEST_F(EspTest, RefusesWhatIsNotThereOrNotAUki) {
  Esp esp = open();
  EXPECT_EQ(esp.set_default("a.efi").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(esp.default_entry().value(), std::nullopt);
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, path("text"), as_bytes("no UKI")));
  UniqueFd text = open_at(AT_FDCWD, path("text"), O_RDONLY).value();
  EXPECT_EQ(esp.install("a.efi", text.get()).error().code, ErrorCode::kCorrupt);
  EXPECT_TRUE(list_directory(AT_FDCWD, path("esp/EFI/Linux")).value().empty());
  EXPECT_EQ(Esp::open(AT_FDCWD, path("missing")).error().code, ErrorCode::kNotFound);
}

TEST_F(EspTest, AKilledInstallLeavesNothingThatTheBootLoaderTakes) {
  Esp esp = open();
  ASSERT_TRUE(esp.install("a.efi", uki('a').get()));
  ASSERT_TRUE(esp.set_default("a.efi"));
  // A UKI that takes a while to copy.
  UniqueFd large = uki('b');
  ASSERT_EQ(::truncate(path("uki-b").c_str(), off_t{1} << 30), 0);
  pid_t child = ::fork();
  if (child == 0) {
    (void)esp.install("b.efi", large.get());
    ::_exit(0);
  }
  while (!stat_at(AT_FDCWD, uki_path("b.efi.cfs-new"), 0)) ::usleep(1000);
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status)) << "the copy was finished too soon";
  EXPECT_THAT(names(), ElementsAre("a.efi", "b.efi.cfs-new"));
  EXPECT_EQ(esp.list().value().size(), 1U);
  // And one that a cut while loader.conf was made has left.
  ASSERT_TRUE(
      write_file_atomically(AT_FDCWD, path("esp/loader/loader.conf.cfs-new"), as_bytes("de")));
  ASSERT_TRUE(esp.install("c.efi", uki('c').get()));
  EXPECT_THAT(names(), ElementsAre("a.efi", "c.efi"));
  EXPECT_THAT(list_directory(AT_FDCWD, path("esp/loader")).value(), ElementsAre("loader.conf"));
}

TEST_F(EspTest, WhatIsNoFileIsNoEntry) {
  Esp esp = open();
  ASSERT_TRUE(make_directories(AT_FDCWD, uki_path("directory.efi")));
  ASSERT_EQ(::mkfifo(uki_path("fifo.efi").c_str(), 0600), 0);
  ASSERT_TRUE(esp.install("a.efi", uki('a').get()));
  ASSERT_EQ(esp.list().value().size(), 1U);
  EXPECT_EQ(esp.list().value()[0].name, "a.efi");
}

TEST_F(EspTest, TheEntryThatTheBootLoaderStarted) {
  const std::string directory = path("efivars");
  EXPECT_EQ(selected_entry(directory).value(), std::nullopt);
  ASSERT_TRUE(make_directories(AT_FDCWD, directory));
  EXPECT_EQ(selected_entry(directory).value(), std::nullopt);
  auto selected = [&](std::string_view value) {
    EXPECT_TRUE(write_file_atomically(
        AT_FDCWD, directory + "/LoaderEntrySelected-4a67b082-0a4c-41cf-b6c7-442b29bb8c4f",
        as_bytes(value)));
    return selected_entry(directory).value();
  };
  using namespace std::string_view_literals;
  EXPECT_EQ(selected("\6\0\0\0a\0.\0e\0f\0i\0\0\0"sv), "a.efi");
  EXPECT_EQ(selected("\6\0\0\0a\0b\0"sv), "ab");
  for (std::string_view bad : {""sv, "\6\0"sv, "\6\0\0\0"sv, "\6\0\0\0\0\0"sv, "\6\0\0\0a"sv,
                               "\6\0\0\0a\1\0\0"sv, "\6\0\0\0\xe4\0\0\0"sv}) {
    EXPECT_EQ(selected(bad), std::nullopt);
  }
  EXPECT_TRUE(same_entry("cfs_1~RC_ab.0.efi", "cfs_1~rc_ab.0.EFI"));
  EXPECT_FALSE(same_entry("cfs_1_ab.0.efi", "cfs_1_ab.1.efi"));
}

TEST(EntryName, IsForEveryVersion) {
  EXPECT_EQ(entry_name("12.1+3~rc1", "cccccccccccc.2"), "cfs_12.1+3~rc1_cccccccccccc.2.efi");
  EXPECT_TRUE(check_entry_name(entry_name("12.1+3~rc1", "cccccccccccc.2")));
  EXPECT_TRUE(check_entry_name(entry_name(std::string(64, '+'), "cccccccccccc.4000000000")));
  for (const char* bad : {"", ".efi", ".x.efi", "x", "x.EFI", "a/b.efi", "x y.efi", "x*.efi",
                          "x+3.efi", "x+3-1.efi", "x\n.efi", "..efi"}) {
    EXPECT_EQ(check_entry_name(bad).error().code, ErrorCode::kInvalidInput) << bad;
  }
  EXPECT_TRUE(check_entry_name("x+y.efi"));
}

}  // namespace
}  // namespace cfs::boot
