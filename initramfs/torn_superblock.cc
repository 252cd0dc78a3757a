// SPDX-License-Identifier: Apache-2.0
#include "initramfs/torn_superblock.h"

#include <unistd.h>

#include <array>
#include <cstring>
#include <optional>
#include <span>

#include "initramfs/ext4_superblock.h"
#include "lib/base/io.h"
#include "lib/base/little_endian.h"

namespace cfs::initramfs {
namespace {

using Superblock = std::array<std::byte, kExtSuperblockBytes>;

constexpr size_t kFirstDataBlockOffset = 0x14;
constexpr size_t kBlockSizeOffset = 0x18;
constexpr uint32_t kMaxBlockSizeShift = 6;  // of 1 KiB
constexpr size_t kBlocksPerGroupOffset = 0x20;
constexpr size_t kRoCompatOffset = 0x64;
constexpr uint32_t kMetadataChecksums = 0x400;
constexpr size_t kChecksumOffset = 0x3fc;

/// What is set when the file system is made, and written to all copies of the superblock whenever a
/// program changes it.
struct Field {
  size_t offset;
  size_t bytes;
};
constexpr Field kConstant[] = {
    {0x00, 8},     // inodes, blocks
    {0x14, 0x18},  // first data block to inodes per group
    {0x4c, 4},     // revision
    {0x54, 6},     // first inode, size of an inode
    {0x68, 16},    // UUID
    {0xce, 2},     // blocks reserved for group descriptors
    {0xec, 0x14},  // hash of directories, size of a group descriptor
    {0x104, 4},    // first meta block group
    {0x150, 4},    // blocks, upper half
    {0x174, 2},    // flexible groups, checksum type
    {0x270, 4},    // checksum seed
};
/// Features, and those of them that the kernel sets and clears in the superblock alone.
struct Features {
  size_t offset;
  uint32_t changing;
};
constexpr Features kFeatures[] = {
    {0x5c, 0x8},                   // compatible: EXT_ATTR
    {0x60, 0x4 | 0x10000},         // incompatible: RECOVER, ENCRYPT
    {0x64, 0x2 | 0x8 |             // read-only compatible: LARGE_FILE, HUGE_FILE,
               0x8000 | 0x10000},  // VERITY, ORPHAN_PRESENT
};

template <typename T>
void store(std::span<std::byte> bytes, size_t offset, T number) {
  const LittleEndian<T> value = number;
  std::memcpy(bytes.data() + offset, &value, sizeof(value));
}

/// CRC-32C as ext4 keeps it: without the last inversion.
uint32_t checksum_of(Bytes bytes) {
  constexpr uint32_t kPolynomial = 0x82f63b78;
  uint32_t crc = ~uint32_t{0};
  for (std::byte byte : bytes) {
    crc ^= static_cast<uint8_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
  }
  return crc;
}

bool has_right_checksum(const Superblock& superblock) {
  return load_little_endian<uint32_t>(superblock, kChecksumOffset) ==
         checksum_of(Bytes(superblock).first(kChecksumOffset));
}

/// A superblock of a file system with checksums.
bool is_superblock(const Superblock& bytes) {
  return load_little_endian<uint16_t>(bytes, kExtMagicOffset) == kExtMagic &&
         (load_little_endian<uint32_t>(bytes, kRoCompatOffset) & kMetadataChecksums) != 0;
}

bool is_copy_of(const Superblock& copy, const Superblock& superblock) {
  for (const Field& field : kConstant) {
    if (std::memcmp(copy.data() + field.offset, superblock.data() + field.offset, field.bytes) !=
        0) {
      return false;
    }
  }
  for (const Features& features : kFeatures) {
    const auto other = load_little_endian<uint32_t>(copy, features.offset) ^
                       load_little_endian<uint32_t>(superblock, features.offset);
    if ((other & ~features.changing) != 0) return false;
  }
  return true;
}

/// Nothing: the device ends before that.
Result<std::optional<Superblock>> read_superblock_at(int fd, uint64_t offset) {
  Superblock superblock{};
  std::optional<Superblock> read;
  if (CFS_TRY(pread_full(fd, superblock, offset)) == superblock.size()) read = superblock;
  return read;
}

/// Where the second block group begins, if `superblock` is right.
std::optional<uint64_t> offset_of_copy(const Superblock& superblock) {
  const auto shift = load_little_endian<uint32_t>(superblock, kBlockSizeOffset);
  if (shift > kMaxBlockSizeShift) return std::nullopt;
  const uint64_t block = uint64_t{load_little_endian<uint32_t>(superblock, kFirstDataBlockOffset)} +
                         load_little_endian<uint32_t>(superblock, kBlocksPerGroupOffset);
  return block << (10 + shift);
}

}  // namespace

Result<bool> mend_torn_superblock(const std::string& device) {
  UniqueFd fd = CFS_TRY(open_at(AT_FDCWD, device, O_RDONLY));
  std::optional<Superblock> torn = CFS_TRY(read_superblock_at(fd.get(), kExtSuperblockOffset));
  if (!torn || !is_superblock(*torn) || has_right_checksum(*torn)) return false;
  const std::optional<uint64_t> offset = offset_of_copy(*torn);
  if (!offset) return false;
  const std::optional<Superblock> copy = CFS_TRY(read_superblock_at(fd.get(), *offset));
  if (!copy || !is_superblock(*copy) || !has_right_checksum(*copy) || !is_copy_of(*copy, *torn)) {
    return false;
  }
  const auto state = load_little_endian<uint16_t>(*torn, kExtStateOffset);
  store<uint16_t>(*torn, kExtStateOffset, state | kExtStateErrors);
  store<uint32_t>(*torn, kChecksumOffset, checksum_of(Bytes(*torn).first(kChecksumOffset)));
  fd = CFS_TRY(open_at(AT_FDCWD, device, O_RDWR));
  CFS_TRY(pwrite_full(fd.get(), *torn, kExtSuperblockOffset));
  if (::fsync(fd.get()) != 0) return errno_error("cannot write to '" + device + "'");
  return true;
}

}  // namespace cfs::initramfs
