// SPDX-License-Identifier: Apache-2.0
#include "initramfs/root_device.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "lib/base/io.h"

namespace cfs::initramfs {
namespace {

using kernel_cmdline::RootSpec;

std::vector<std::byte> ext4_superblock(const std::string& label) {
  std::vector<std::byte> bytes(kIdentifyBytes);
  bytes[1024 + 0x38] = std::byte{0x53};
  bytes[1024 + 0x39] = std::byte{0xef};
  for (size_t i = 0; i < 16; ++i) bytes[1024 + 0x68 + i] = static_cast<std::byte>(i);
  std::memcpy(&bytes[1024 + 0x78], label.data(), std::min<size_t>(label.size(), 16));
  return bytes;
}

TEST(SuperblockTest, Ext4) {
  std::optional<Superblock> found = identify_superblock(ext4_superblock("cfs"));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->type, "ext4");
  EXPECT_EQ(found->label, "cfs");
  EXPECT_EQ(found->uuid, "00010203-0405-0607-0809-0a0b0c0d0e0f");
  EXPECT_EQ(identify_superblock(ext4_superblock("0123456789abcdef"))->label, "0123456789abcdef");
}

TEST(SuperblockTest, Ext4WantsACheckAfterErrors) {
  std::vector<std::byte> bytes = ext4_superblock("cfs");
  // Spec: Linux Documentation/filesystems/ext4/globals.rst, s_state.
  for (auto [state, needs_check] :
       {std::pair{1, false}, {0, true}, {2, true}, {3, true}, {5, false}}) {
    bytes[1024 + 0x3a] = static_cast<std::byte>(state);
    EXPECT_EQ(identify_superblock(bytes)->needs_check, needs_check) << state;
  }
}

TEST(SuperblockTest, Btrfs) {
  std::vector<std::byte> bytes(kIdentifyBytes);
  std::memcpy(&bytes[0x10040], "_BHRfS_M", 8);
  std::memcpy(&bytes[0x1012b], "disk", 4);
  std::optional<Superblock> found = identify_superblock(bytes);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->type, "btrfs");
  EXPECT_FALSE(found->needs_check);
  EXPECT_EQ(found->label, "disk");
}

TEST(SuperblockTest, AnyLengthIsSafe) {
  std::vector<std::byte> bytes = ext4_superblock("cfs");
  for (size_t size : {0U, 1U, 1024U, 1082U, 1083U, 1084U, 1159U, 4096U}) {
    bool found = identify_superblock(Bytes(bytes).first(size)).has_value();
    EXPECT_EQ(found, size == 4096U) << size;
  }
  EXPECT_FALSE(identify_superblock(std::vector<std::byte>(kIdentifyBytes)));
}

// A GPT with two entries; the id of entry N begins with the bytes N, 1, 2, 3.
std::vector<std::byte> partition_table(size_t block_bytes) {
  std::vector<std::byte> disk(kPartitionTableBytes);
  std::memcpy(&disk[block_bytes], "EFI PART", 8);
  disk[block_bytes + 72] = std::byte{2};
  disk[block_bytes + 80] = std::byte{2};
  disk[block_bytes + 84] = std::byte{128};
  for (size_t entry = 1; entry <= 2; ++entry) {
    for (size_t i = 0; i < 16; ++i) {
      disk[2 * block_bytes + (entry - 1) * 128 + 16 + i] = static_cast<std::byte>(i ? i : entry);
    }
  }
  return disk;
}

TEST(PartitionUuid, Gpt) {
  for (size_t block_bytes : {512U, 4096U}) {
    std::vector<std::byte> disk = partition_table(block_bytes);
    EXPECT_EQ(partition_uuid(disk, block_bytes, 1), "03020101-0504-0706-0809-0a0b0c0d0e0f");
    EXPECT_EQ(partition_uuid(disk, block_bytes, 2), "03020102-0504-0706-0809-0a0b0c0d0e0f");
    EXPECT_EQ(partition_uuid(disk, block_bytes, 3), "");
    EXPECT_EQ(partition_uuid(disk, block_bytes, 0), "");
  }
}

TEST(PartitionUuid, Mbr) {
  std::vector<std::byte> disk(512);
  disk[510] = std::byte{0x55};
  disk[511] = std::byte{0xaa};
  disk[440] = std::byte{0x0d};
  disk[443] = std::byte{0xab};
  EXPECT_EQ(partition_uuid(disk, 512, 2), "ab00000d-02");
  EXPECT_EQ(partition_uuid(std::vector<std::byte>(512), 512, 2), "");
}

TEST(PartitionUuid, AnyBytesAreSafe) {
  std::vector<std::byte> disk = partition_table(512);
  for (size_t size : {0U, 91U, 511U, 512U, 1023U, 1024U, 1040U, 1151U, 1152U, 1279U}) {
    (void)partition_uuid(Bytes(disk).first(size), 512, 2);
  }
  EXPECT_EQ(partition_uuid(disk, 0, 1), "");
  EXPECT_EQ(partition_uuid(disk, size_t{1} << 62, 1), "");
  for (size_t offset : {72U, 79U, 80U, 83U, 84U, 87U}) {
    std::vector<std::byte> wild = disk;
    wild[512 + offset] = std::byte{0xff};
    (void)partition_uuid(wild, 512, 2);
    (void)partition_uuid(wild, 512, 0xffffffff);
  }
}

class BlockDevices : public ::testing::Test {
 protected:
  void add(const std::string& name, const std::string& uevent, Bytes content) {
    ASSERT_TRUE(make_directories(AT_FDCWD, block_class() + "/" + name));
    ASSERT_TRUE(make_directories(AT_FDCWD, dev()));
    ASSERT_TRUE(write_file_atomically(AT_FDCWD, block_class() + "/" + name + "/uevent",
                                      as_bytes("MAJOR=254\nDEVNAME=" + name + "\n" + uevent)));
    ASSERT_TRUE(write_file_atomically(AT_FDCWD, dev() + "/" + name, content));
  }
  void add_partition(const std::string& name, const std::string& uevent, Bytes content) {
    add(name, uevent, content);
    std::string below = block_class() + "/vda/" + name;
    ASSERT_TRUE(rename_at(AT_FDCWD, block_class() + "/" + name, AT_FDCWD, below));
    ASSERT_EQ(::symlink(below.c_str(), (block_class() + "/" + name).c_str()), 0);
  }
  std::string find(const std::string& text) {
    kernel_cmdline::RootSpec spec = *kernel_cmdline::parse_root_spec(text);
    if (spec.kind == kernel_cmdline::RootSpec::Kind::kPath)
      spec.value = dev() + spec.value.substr(4);
    std::string found;
    const std::vector<BlockDevice> devices =
        *list_block_devices(block_class(), dev(), PartitionIds::kRead);
    for (const BlockDevice& device : devices) {
      if (is_meant(spec, device)) {
        found += (found.empty() ? "" : " ") + device.path.substr(dev().size() + 1);
      }
    }
    return found;
  }
  std::string block_class() { return directory_.path() + "/block"; }
  std::string dev() { return directory_.path() + "/dev"; }
  TemporaryDirectory directory_ = *TemporaryDirectory::create();
};

TEST_F(BlockDevices, AreFoundByEveryKindOfName) {
  // As in sysfs, partitions lie below their disk, and the class directory has links.
  add("vda", "DEVTYPE=disk\n", partition_table(512));
  ASSERT_TRUE(make_directories(AT_FDCWD, block_class() + "/vda/queue"));
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, block_class() + "/vda/queue/logical_block_size",
                                    as_bytes("512\n")));
  add_partition("vda1", "PARTN=1\nPARTNAME=esp\n", as_bytes("short"));
  add_partition("vda2", "PARTN=2\nPARTNAME=cfs root", ext4_superblock("cfs"));
  add("vdb", "DEVTYPE=disk\n", ext4_superblock("data"));
  EXPECT_EQ(find("LABEL=cfs"), "vda2");
  EXPECT_EQ(find("LABEL=data"), "vdb");
  EXPECT_EQ(find("UUID=00010203-0405-0607-0809-0A0B0C0D0E0F"), "vda2 vdb");
  EXPECT_EQ(find("PARTLABEL=cfs root"), "vda2");
  EXPECT_EQ(find("PARTUUID=03020102-0504-0706-0809-0A0B0C0D0E0F"), "vda2");
  EXPECT_EQ(find("PARTUUID=03020103-0504-0706-0809-0a0b0c0d0e0f"), "");
  EXPECT_EQ(find("/dev/vdb"), "vdb");
  EXPECT_EQ(find("LABEL=cf"), "");
  EXPECT_EQ(find("PARTLABEL=cfs"), "");
  EXPECT_EQ(find("PARTLABEL=esp"), "") << "no file system we know";
  const BlockDevice read = (*list_block_devices(block_class(), dev(), PartitionIds::kRead))[2];
  EXPECT_EQ(read.disk, "vda");
  EXPECT_EQ(read.partition_uuid, "03020102-0504-0706-0809-0a0b0c0d0e0f");
  const BlockDevice skipped = (*list_block_devices(block_class(), dev(), PartitionIds::kSkip))[2];
  EXPECT_EQ(skipped.disk, "vda");
  EXPECT_EQ(skipped.partition_uuid, "");
}

TEST_F(BlockDevices, AreToldOfWhenNoneFits) {
  ASSERT_TRUE(make_directories(AT_FDCWD, block_class()));
  EXPECT_EQ(describe_devices(*list_block_devices(block_class(), dev(), PartitionIds::kRead)),
            "none");
  add("sda", "DEVTYPE=disk\n", ext4_superblock("data"));
  add("sr0", "DEVTYPE=disk\n", as_bytes("x"));
  add("loop0", "DEVTYPE=disk\n", as_bytes("x"));
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, block_class() + "/loop0/size", as_bytes("0\n")));
  EXPECT_EQ(describe_devices(*list_block_devices(block_class(), dev(), PartitionIds::kRead)),
            dev() + "/sda (ext4 'data'), " + dev() + "/sr0");
}

}  // namespace
}  // namespace cfs::initramfs
