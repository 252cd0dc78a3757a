// SPDX-License-Identifier: Apache-2.0
// Fields of ext4's superblock, by their offsets in it.
// Spec: Linux Documentation/filesystems/ext4/globals.rst "Super Block".
#pragma once

#include <cstddef>
#include <cstdint>

namespace cfs::initramfs {

inline constexpr size_t kExtSuperblockOffset = 1024;  ///< on the device
inline constexpr size_t kExtSuperblockBytes = 1024;

inline constexpr size_t kExtMagicOffset = 0x38;
inline constexpr uint16_t kExtMagic = 0xef53;
inline constexpr size_t kExtStateOffset = 0x3a;
inline constexpr uint16_t kExtStateClean = 1;
inline constexpr uint16_t kExtStateErrors = 2;

}  // namespace cfs::initramfs
