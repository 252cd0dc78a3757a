// SPDX-License-Identifier: Apache-2.0
#include "initramfs/torn_superblock.h"

#include <unistd.h>

#include <array>
#include <cstring>

#include "lib/base/io.h"
#include "lib/base/little_endian.h"

namespace cfs::initramfs {
namespace {

constexpr size_t kRoCompatOffset = 0x64;
constexpr uint32_t kMetadataChecksums = 0x400;
constexpr size_t kChecksumOffset = 0x3fc;

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

}  // namespace

bool mend_superblock(std::span<std::byte, kExtSuperblockBytes> superblock) {
  const std::span<std::byte> summed = superblock.first(kChecksumOffset);
  if (load_little_endian<uint16_t>(superblock, kExtMagicOffset) != kExtMagic ||
      (load_little_endian<uint32_t>(superblock, kRoCompatOffset) & kMetadataChecksums) == 0 ||
      load_little_endian<uint32_t>(superblock, kChecksumOffset) == checksum_of(summed)) {
    return false;
  }
  const auto state = load_little_endian<uint16_t>(superblock, kExtStateOffset);
  store<uint16_t>(superblock, kExtStateOffset, state | kExtStateErrors);
  store<uint32_t>(superblock, kChecksumOffset, checksum_of(summed));
  return true;
}

Result<bool> mend_torn_superblock(const std::string& device) {
  UniqueFd fd = CFS_TRY(open_at(AT_FDCWD, device, O_RDONLY));
  std::array<std::byte, kExtSuperblockBytes> superblock{};
  size_t count = CFS_TRY(pread_full(fd.get(), superblock, kExtSuperblockOffset));
  if (count != superblock.size() || !mend_superblock(superblock)) return false;
  fd = CFS_TRY(open_at(AT_FDCWD, device, O_RDWR));
  CFS_TRY(pwrite_full(fd.get(), superblock, kExtSuperblockOffset));
  if (::fsync(fd.get()) != 0) return errno_error("cannot write to '" + device + "'");
  return true;
}

}  // namespace cfs::initramfs
