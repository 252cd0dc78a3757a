// SPDX-License-Identifier: Apache-2.0
#include "initramfs/torn_superblock.h"

#include <gtest/gtest.h>

#include <array>
#include <filesystem>

#include "initramfs/root_device.h"
#include "lib/base/io.h"
#include "lib/base/subprocess.h"
#include "lib/base/temporary_directory.h"

namespace cfs::initramfs {
namespace {

/// Judged by the programs of e2fsprogs.
class TornSuperblock : public ::testing::Test {
 protected:
  void make(const std::string& features, const std::string& size, const std::string& block) {
    std::filesystem::remove(image_);
    ASSERT_TRUE(
        succeeds({"mke2fs", "-q", "-t", "ext4", "-O", features, "-b", block, image_, size}));
  }
  static bool succeeds(std::vector<std::string> arguments) {
    Result<std::string> output = run_command({.arguments = std::move(arguments)});
    EXPECT_TRUE(output || output.error().code != ErrorCode::kNotFound) << output.error().describe();
    return output.has_value();
  }
  /// Another time of mounting, as if the first sector were new and the second old.
  void tear() { flip(1024 + 0x2c); }
  void flip(uint64_t offset) {
    UniqueFd fd = open_at(AT_FDCWD, image_, O_RDWR).value();
    std::array<std::byte, 1> byte{};
    ASSERT_EQ(pread_full(fd.get(), byte, offset).value(), 1U);
    byte[0] ^= std::byte{1};
    ASSERT_TRUE(pwrite_full(fd.get(), byte, offset));
  }
  [[nodiscard]] bool can_be_read() const { return succeeds({"dumpe2fs", "-h", image_}); }

  TemporaryDirectory directory_ = TemporaryDirectory::create().value();
  std::string image_ = directory_.path() + "/image";
};

TEST_F(TornSuperblock, IsMended) {
  for (const char* block : {"1024", "4096"}) {
    make("metadata_csum,verity", "200M", block);
    EXPECT_FALSE(mend_torn_superblock(image_).value());
    tear();
    EXPECT_FALSE(can_be_read());
    EXPECT_TRUE(mend_torn_superblock(image_).value());
    EXPECT_TRUE(can_be_read());
    EXPECT_FALSE(mend_torn_superblock(image_).value());
    EXPECT_TRUE(read_superblock(image_)->needs_check);
    EXPECT_TRUE(succeeds({"e2fsck", "-p", image_}));
    EXPECT_FALSE(read_superblock(image_)->needs_check);
    EXPECT_TRUE(succeeds({"e2fsck", "-fn", image_}));
  }
}

TEST_F(TornSuperblock, RotIsLeftAlone) {
  constexpr uint64_t kCopy = 32768 * 4096;
  make("metadata_csum,verity", "200M", "4096");
  // Blocks, the size of a block, inodes in a group, a feature, UUID; the copy.
  for (uint64_t offset : {uint64_t{1024 + 0x05}, uint64_t{1024 + 0x18}, uint64_t{1024 + 0x28},
                          uint64_t{1024 + 0x61}, uint64_t{1024 + 0x70}, kCopy + 0x60}) {
    flip(offset);
    if (offset > kCopy) tear();
    EXPECT_FALSE(mend_torn_superblock(image_).value()) << offset;
    if (offset < kCopy) flip(offset);
  }
  make("metadata_csum,verity", "100M", "4096");  // without a copy
  tear();
  EXPECT_FALSE(mend_torn_superblock(image_).value());
}

TEST_F(TornSuperblock, AnythingElseIsLeftAlone) {
  make("^metadata_csum", "8M", "1024");
  tear();
  const std::string before = read_file(AT_FDCWD, image_, 16 << 20).value();
  EXPECT_FALSE(mend_torn_superblock(image_).value());
  EXPECT_TRUE(read_file(AT_FDCWD, image_, 16 << 20).value() == before);
  for (size_t size : {size_t{0}, size_t{1500}, size_t{100'000}}) {
    std::filesystem::resize_file(image_, 0);
    std::filesystem::resize_file(image_, size);
    EXPECT_FALSE(mend_torn_superblock(image_).value()) << size;
  }
  EXPECT_FALSE(mend_torn_superblock(image_ + "-gone"));
}

}  // namespace
}  // namespace cfs::initramfs
