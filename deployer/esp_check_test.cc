// SPDX-License-Identifier: Apache-2.0
#include "deployer/esp_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <filesystem>

#include "lib/base/io.h"
#include "lib/base/subprocess.h"
#include "lib/base/temporary_directory.h"
#include "lib/mount/loop_device.h"

namespace cfs::deployer {
namespace {

using ::testing::HasSubstr;

/// Made and judged by the programs of dosfstools and mtools.
class EspCheckTest : public ::testing::Test {
 protected:
  void make(const std::string& bits, const std::string& size) {
    std::filesystem::remove(image_);
    ASSERT_TRUE(succeeds({"truncate", "-s", size, image_}));
    ASSERT_TRUE(succeeds({"mkfs.vfat", "-F", bits, image_}));
  }
  static bool succeeds(std::vector<std::string> arguments) {
    Result<std::string> output = run_command({.arguments = std::move(arguments)});
    EXPECT_TRUE(output || output.error().code != ErrorCode::kNotFound) << output.error().describe();
    return output.has_value();
  }
  void put(uint64_t offset, uint8_t value) {
    UniqueFd fd = open_at(AT_FDCWD, image_, O_RDWR).value();
    const std::array<std::byte, 1> byte = {std::byte{value}};
    ASSERT_TRUE(pwrite_full(fd.get(), byte, offset));
  }

  TemporaryDirectory directory_ = TemporaryDirectory::create().value();
  std::string image_ = directory_.path() + "/image";
  Environment environment_;
};

TEST_F(EspCheckTest, OneThatWasNotLeftCleanIsRepaired) {
  for (const auto& [bits, size, state] :
       {std::tuple("32", "64M", 0x41), std::tuple("16", "32M", 0x25)}) {
    SCOPED_TRACE(bits);
    make(bits, size);
    EXPECT_FALSE(is_unclean_fat(image_));
    EXPECT_FALSE(check_esp(environment_, image_).value());
    // A file whose clusters are marked as free: both copies of the table are emptied behind the
    // entry of the root directory.
    const std::string file = directory_.path() + "/file";
    ASSERT_TRUE(write_file_atomically(AT_FDCWD, file, as_bytes(std::string(100'000, 'x'))));
    ASSERT_TRUE(succeeds({"mcopy", "-i", image_, file, "::/file"}));
    const std::string before = read_file(AT_FDCWD, image_, 128 << 20).value();
    auto number = [&](size_t offset, size_t bytes) {
      uint64_t value = 0;
      for (size_t i = 0; i < bytes; ++i) {
        value |= uint64_t{static_cast<uint8_t>(before[offset + i])} << (8 * i);
      }
      return value;
    };
    const uint64_t sectors = number(0x16, 2) == 0 ? number(0x24, 4) : number(0x16, 2);
    const uint64_t table = number(0x0e, 2) * 512;
    for (uint64_t copy = 0; copy < 2; ++copy) {
      for (uint64_t byte = 12; byte < 100; ++byte) put(table + copy * sectors * 512 + byte, 0);
    }
    put(static_cast<uint64_t>(state), 1);
    EXPECT_TRUE(is_unclean_fat(image_));
    EXPECT_FALSE(succeeds({"fsck.vfat", "-n", image_}));
    EXPECT_TRUE(check_esp(environment_, image_).value());
    EXPECT_FALSE(is_unclean_fat(image_));
    EXPECT_TRUE(succeeds({"fsck.vfat", "-n", image_}));
  }
}

TEST_F(EspCheckTest, AnythingElseIsLeftAlone) {
  EXPECT_FALSE(is_unclean_fat(image_));
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, image_, as_bytes(std::string(511, '\1'))));
  EXPECT_FALSE(is_unclean_fat(image_));
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, image_, as_bytes(std::string(512, '\1'))));
  EXPECT_FALSE(is_unclean_fat(image_));
}

TEST_F(EspCheckTest, OneThatSomebodyHasMountedIsLeftAlone) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can make a block device of a file";
  make("32", "64M");
  put(0x41, 1);
  mount::LoopDevice device =
      mount::attach_loop_device(open_at(AT_FDCWD, image_, O_RDONLY).value().get()).value();
  environment_.fsck_vfat = "true";
  {
    UniqueFd as_a_mount = open_at(AT_FDCWD, device.path, O_RDONLY | O_EXCL).value();
    EXPECT_FALSE(check_esp(environment_, device.path).value());
  }
  EXPECT_TRUE(check_esp(environment_, device.path).value());
}

TEST_F(EspCheckTest, WithoutAProgramOrWithOneThatFailsItSaysSo) {
  make("32", "64M");
  put(0x41, 1);
  environment_.fsck_vfat = "no-such-fsck";
  Result<bool> checked = check_esp(environment_, image_);
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code, ErrorCode::kNotFound);
  environment_.fsck_vfat = "false";
  checked = check_esp(environment_, image_);
  ASSERT_TRUE(checked) << checked.error().describe();  // 1: it has repaired something
  const std::string script = directory_.path() + "/fsck";
  ASSERT_TRUE(
      write_file_atomically(AT_FDCWD, script, as_bytes("#!/bin/sh\necho broken; exit 2\n")));
  std::filesystem::permissions(script, std::filesystem::perms::owner_all);
  environment_.fsck_vfat = script;
  checked = check_esp(environment_, image_);
  ASSERT_FALSE(checked);
  EXPECT_THAT(checked.error().describe(), HasSubstr("broken"));
}

TEST_F(EspCheckTest, SavedClustersAreRemoved) {
  for (const char* name :
       {"FSCK0000.REC", "FSCK0123.REC", "FSCKabcd.REC", "EFI", "FSCK0000.REC.x"}) {
    ASSERT_TRUE(write_file_atomically(AT_FDCWD, directory_.path() + "/" + name, {}));
  }
  UniqueFd root = open_at(AT_FDCWD, directory_.path(), O_RDONLY | O_DIRECTORY).value();
  ASSERT_TRUE(remove_saved_clusters(root.get()));
  EXPECT_THAT(list_directory(root.get(), ".").value(),
              testing::UnorderedElementsAre("EFI", "FSCK0000.REC.x", "FSCKabcd.REC"));
}

}  // namespace
}  // namespace cfs::deployer
