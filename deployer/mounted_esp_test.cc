// SPDX-License-Identifier: Apache-2.0
#include "deployer/mounted_esp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "lib/base/io.h"

namespace cfs::deployer {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kUuid = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";

/// A machine with partitions that are files.
class MountedEspTest : public ::testing::Test {
 protected:
  MountedEspTest() {
    for (const char* name : {"sys/class/block", "dev/disk/by-partuuid", "efivars"}) {
      EXPECT_TRUE(make_directories(AT_FDCWD, path(name)));
    }
    environment_.kernel_objects = path("sys");
    environment_.devices = path("dev");
    environment_.efi_variables = path("efivars");
  }
  [[nodiscard]] std::string path(const std::string& name) const {
    return directory_.path() + "/" + name;
  }
  void add_partition(const std::string& device, const std::string& name, const std::string& uuid) {
    ASSERT_TRUE(make_directories(AT_FDCWD, path("sys/class/block/" + device)));
    ASSERT_TRUE(write_file_atomically(
        AT_FDCWD, path("sys/class/block/" + device + "/uevent"),
        as_bytes("MAJOR=254\nDEVNAME=" + device + "\nPARTN=1\nPARTNAME=" + name + "\n")));
    ASSERT_TRUE(write_file_atomically(AT_FDCWD, path("dev/" + device), {}));
    if (!uuid.empty()) {
      std::filesystem::create_symlink("../../" + device, path("dev/disk/by-partuuid/" + uuid));
    }
  }
  void set_booted_from(const std::string& uuid) {
    std::string value("\6\0\0\0", 4);
    for (char c : uuid) value += {static_cast<char>(std::toupper(c)), '\0'};
    ASSERT_TRUE(write_file_atomically(
        AT_FDCWD, path("efivars/LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"),
        as_bytes(value + std::string("\0\0", 2))));
  }
  std::string found() {
    Result<std::string> device = find_esp(environment_);
    return device ? std::filesystem::canonical(*device).filename().string()
                  : device.error().describe() + "; " + device.error().hint;
  }

  TemporaryDirectory directory_ = TemporaryDirectory::create().value();
  Environment environment_;
};

TEST_F(MountedEspTest, TheOneThatTheMachineWasBootedFromWins) {
  add_partition("vda1", "cfs-esp", "00000000-0000-4000-8000-000000000001");
  add_partition("vdb1", "ESP", kUuid);
  set_booted_from(kUuid);
  EXPECT_EQ(found(), "vdb1");
}

TEST_F(MountedEspTest, OneThatIsGoneIsNotReplacedByAnother) {
  add_partition("vda1", "cfs-esp", "");
  set_booted_from(kUuid);
  EXPECT_THAT(found(), AllOf(HasSubstr(kUuid), HasSubstr("--esp")));
}

TEST_F(MountedEspTest, WithoutTheBootLoadersWordTheOnlyOneOfTheNameIsTaken) {
  EXPECT_THAT(found(), HasSubstr("cannot find the EFI system partition"));
  add_partition("vdb1", "cfs-esp", "");
  add_partition("vdb2", "cfs", "");
  EXPECT_EQ(found(), "vdb1");
  add_partition("vda1", "cfs-esp", "");
  EXPECT_THAT(found(), AllOf(HasSubstr("several partitions are called cfs-esp"),
                             HasSubstr("vda1, "), HasSubstr("vdb1"), HasSubstr("--esp")));
}

TEST_F(MountedEspTest, OpenedForWritingItHasNothingThatACutHasLeft) {
  for (const char* directory : {"esp/EFI/Linux", "esp/loader"}) {
    ASSERT_TRUE(make_directories(AT_FDCWD, path(directory)));
  }
  const std::vector<std::string> leftovers = {"esp/EFI/Linux/a+3.efi.cfs-new",
                                              "esp/loader/loader.conf.cfs-new", "esp/FSCK0000.REC"};
  for (const std::string& name : leftovers) {
    ASSERT_TRUE(write_file_atomically(AT_FDCWD, path(name), {}));
  }
  for (Access access : {Access::kRead, Access::kWrite}) {
    ASSERT_TRUE(MountedEsp::open(path("esp"), environment_, access));
    for (const std::string& name : leftovers) {
      EXPECT_EQ(std::filesystem::exists(path(name)), access == Access::kRead) << name;
    }
  }
}

TEST_F(MountedEspTest, APartitionThatIsBusyIsWaitedFor) {
  int attempts = 0;
  auto open_on = [&](int successful, int error_number) {
    attempts = 0;
    return mount_when_free(std::chrono::milliseconds(200), [&, successful, error_number] {
      return ++attempts == successful ? open_at(AT_FDCWD, path("dev"), O_RDONLY)
                                      : errno_error("it fails", error_number);
    });
  };
  EXPECT_TRUE(open_on(1, EBUSY));
  EXPECT_TRUE(open_on(3, EBUSY));
  EXPECT_EQ(open_on(4, EBUSY).error().sys_errno, EBUSY);
  EXPECT_EQ(attempts, 3);
  EXPECT_EQ(open_on(2, ENODEV).error().sys_errno, ENODEV);
  EXPECT_EQ(attempts, 1);
}

}  // namespace
}  // namespace cfs::deployer
