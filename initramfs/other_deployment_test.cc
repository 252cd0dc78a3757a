// SPDX-License-Identifier: Apache-2.0
#include "initramfs/other_deployment.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "lib/base/io.h"
#include "lib/base/temporary_directory.h"
#include "lib/boot/efi_variables.h"
#include "lib/sysroot/layout.h"

namespace cfs::initramfs {
namespace {

class OtherDeployment : public ::testing::Test {
 protected:
  OtherDeployment() {
    EXPECT_TRUE(make_directories(AT_FDCWD, top_.path() + "/refs"));
    EXPECT_TRUE(make_directories(AT_FDCWD, top_.path() + "/state"));
    EXPECT_TRUE(make_directories(AT_FDCWD, efi_variables_));
  }
  void refer(const char* role, const std::string& id) {
    const std::string link = top_.path() + "/" + sysroot::reference_path(role);
    std::filesystem::remove(link);
    std::filesystem::create_symlink(sysroot::reference_target(id), link);
  }
  void record(const std::string& id, const std::string& text) {
    const std::string path = top_.path() + "/" + sysroot::record_path(id);
    ASSERT_TRUE(make_directories(AT_FDCWD, std::filesystem::path(path).parent_path()));
    ASSERT_TRUE(write_file_atomically(AT_FDCWD, path, as_bytes(text)));
  }
  void set(const std::string& name, const std::string& value) {
    std::string wide("\6\0\0\0", 4);
    for (char c : value) wide += {c == '|' ? '\0' : c, '\0'};
    ASSERT_TRUE(write_file_atomically(
        AT_FDCWD, efi_variables_ + "/" + name + "-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f",
        as_bytes(wide)));
  }
  [[nodiscard]] std::string instead_of(const std::vector<std::string>& tried) const {
    return entry_of_other_deployment(cfs_.get(), tried, entries_).value_or("none");
  }
  /// The boot loader starts what it was asked for or else `entry`, and that fails. Returns what it
  /// is asked for then.
  std::string fail(const std::string& entry) {
    const std::string asked = boot::entry_wishes(efi_variables_)->one_shot;
    EXPECT_TRUE(boot::withdraw_entry_wishes(efi_variables_));
    set("LoaderEntrySelected", (asked.empty() ? entry : asked) + "|");
    const verity::Digest digest = verity::Digest::parse(std::string(64, 'a')).value();
    Result<std::optional<std::string>> other =
        leave_behind(cfs_.get(), efi_variables_, {digest, "image", "text", {}});
    EXPECT_TRUE(other) << other.error().describe();
    EXPECT_EQ(boot::entry_wishes(efi_variables_)->one_shot, other->value_or(""));
    return other->value_or("none");
  }

  TemporaryDirectory top_ = TemporaryDirectory::create().value();
  UniqueFd cfs_ = open_at(AT_FDCWD, top_.path(), O_RDONLY | O_DIRECTORY).value();
  const std::string efi_variables_ = top_.path() + "/efivars";
  const std::vector<std::string> entries_ = {"auto-windows", "cfs_1_aa.0+0-2.efi", "cfs_2_bb.0.efi",
                                             "cfs_2_bb.1+2.efi", "cfs_b.0.efi"};
};

TEST_F(OtherDeployment, IsThePreviousTheLastOneOrTheRecovery) {
  EXPECT_EQ(instead_of({"bb.0"}), "none");
  refer("recovery", "aa.0");
  EXPECT_EQ(instead_of({"bb.0"}), "cfs_1_aa.0+0-2.efi");
  EXPECT_EQ(instead_of({"aa.0"}), "none");
  refer("booted", "bb.0");
  EXPECT_EQ(instead_of({"bb.0"}), "cfs_1_aa.0+0-2.efi");
  EXPECT_EQ(instead_of({"aa.0"}), "cfs_2_bb.0.efi");
  refer("previous", "bb.1");
  EXPECT_EQ(instead_of({"bb.0"}), "cfs_2_bb.1+2.efi");
  refer("previous", "gone.0");
  EXPECT_EQ(instead_of({"aa.0"}), "cfs_2_bb.0.efi");
  refer("previous", "");
  EXPECT_EQ(instead_of({"aa.0"}), "cfs_2_bb.0.efi");
}

TEST_F(OtherDeployment, OneThatWasMarkedBadComesLast) {
  refer("previous", "bb.0");
  refer("recovery", "aa.0");
  record("bb.0", R"({"held":{"detail":"\"state\":\"bad\""},"state":"good"})");
  EXPECT_EQ(instead_of({"bb.1"}), "cfs_2_bb.0.efi");
  record("bb.0", R"({"schema":1,"state":"bad"})");
  EXPECT_EQ(instead_of({"bb.1"}), "cfs_1_aa.0+0-2.efi");
  EXPECT_EQ(instead_of({"bb.1", "aa.0"}), "cfs_2_bb.0.efi");
  EXPECT_EQ(instead_of({"bb.0", "aa.0"}), "none");
}

TEST_F(OtherDeployment, IsAskedForAfterTheSecondFailure) {
  refer("previous", "aa.0");
  EXPECT_EQ(fail("auto-windows"), "none");  // not an entry of ours
  set("LoaderEntries", "cfs_2_bb.0.efi|cfs_1_aa.0+0.efi|");
  EXPECT_EQ(fail("cfs_2_bb.0.efi"), "none");
  EXPECT_EQ(fail("cfs_2_bb.0.efi"), "cfs_1_aa.0+0.efi");
}

TEST_F(OtherDeployment, IsNotAskedForWhileTheBootLoaderCounts) {
  refer("previous", "aa.0");
  set("LoaderEntries", "cfs_2_bb.0+1-2.efi|cfs_1_aa.0.efi|");
  set("LoaderBootCountPath", "\\EFI\\Linux\\cfs_2_bb.0+1-2.efi|");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(fail("cfs_2_bb.0+1-2.efi"), "none");
}

TEST_F(OtherDeployment, OneAfterTheOtherIsTried) {
  refer("previous", "bb.1");
  refer("booted", "bb.0");
  refer("recovery", "aa.0");
  set("LoaderEntries", "cfs_2_bb.0.efi|cfs_2_bb.1.efi|cfs_1_aa.0+0.efi|");
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(fail("cfs_2_bb.0.efi"), "none");
    EXPECT_EQ(fail("cfs_2_bb.0.efi"), "cfs_2_bb.1.efi");
    EXPECT_EQ(fail("cfs_2_bb.0.efi"), "cfs_1_aa.0+0.efi");
    EXPECT_EQ(fail("cfs_2_bb.0.efi"), "none");
  }
}

TEST_F(OtherDeployment, OneThatWasAskedForAndDidNotComeIsPassedOver) {
  refer("previous", "bb.1");
  refer("recovery", "aa.0");
  set("LoaderEntries", "cfs_2_bb.0.efi|cfs_2_bb.1.efi|cfs_1_aa.0+0.efi|");
  EXPECT_EQ(fail("cfs_2_bb.0.efi"), "none");
  EXPECT_EQ(fail("cfs_2_bb.0.efi"), "cfs_2_bb.1.efi");
  EXPECT_TRUE(boot::withdraw_entry_wishes(efi_variables_));  // its kernel has panicked
  EXPECT_EQ(fail("cfs_2_bb.0.efi"), "cfs_1_aa.0+0.efi");
}

TEST_F(OtherDeployment, IsAskedForAtOnceIfTheFailureCannotBeRecorded) {
  refer("previous", "aa.0");
  std::filesystem::remove_all(top_.path() + "/state");
  set("LoaderEntries", "cfs_2_bb.0.efi|cfs_1_aa.0.efi|");
  EXPECT_EQ(fail("cfs_2_bb.0.efi"), "cfs_1_aa.0.efi");
}

TEST_F(OtherDeployment, EachIsReachedIfNoFailureCanBeRecorded) {
  refer("previous", "bb.1");
  refer("booted", "bb.0");
  refer("recovery", "aa.0");
  std::filesystem::remove_all(top_.path() + "/state");
  set("LoaderEntries", "cfs_2_bb.0.efi|cfs_2_bb.1.efi|cfs_1_aa.0+0.efi|cfs_3_cc.0.efi|");
  // What was chosen has never run; each of the next is the one that was asked for.
  EXPECT_EQ(fail("cfs_3_cc.0.efi"), "cfs_2_bb.0.efi");
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(fail("cfs_3_cc.0.efi"), "cfs_2_bb.1.efi");
    EXPECT_EQ(fail("cfs_3_cc.0.efi"), "cfs_1_aa.0+0.efi");
    EXPECT_EQ(fail("cfs_3_cc.0.efi"), "cfs_2_bb.0.efi");
  }
  EXPECT_TRUE(boot::withdraw_entry_wishes(efi_variables_));
  // One that is marked bad is no dead end, and comes after the recovery.
  record("bb.1", R"({"schema":1,"state":"bad"})");
  EXPECT_EQ(fail("cfs_2_bb.0.efi"), "cfs_1_aa.0+0.efi");
  EXPECT_EQ(fail("cfs_2_bb.0.efi"), "cfs_2_bb.1.efi");
  EXPECT_EQ(fail("cfs_2_bb.0.efi"), "cfs_2_bb.0.efi");
  refer("previous", "bb.0");
  EXPECT_EQ(fail("cfs_2_bb.0.efi"), "cfs_1_aa.0+0.efi");
  refer("recovery", "");
  EXPECT_TRUE(boot::withdraw_entry_wishes(efi_variables_));
  set("LoaderEntrySelected", "cfs_2_bb.0.efi|");
  const verity::Digest digest = verity::Digest::parse(std::string(64, 'a')).value();
  EXPECT_FALSE(leave_behind(cfs_.get(), efi_variables_, {digest, "image", "text", {}}));
  EXPECT_EQ(boot::entry_wishes(efi_variables_)->one_shot, "");
}

}  // namespace
}  // namespace cfs::initramfs
