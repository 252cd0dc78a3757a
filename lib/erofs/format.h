// SPDX-License-Identifier: Apache-2.0
// The composefs image on disk: an EROFS file system with a composefs header before its superblock.
//
//   0       ComposefsHeader, zeros
//   1024    SuperBlock
//   1152    inodes, 32-byte aligned, breadth-first; behind each its xattrs and its tail
//   M       shared xattr table (M = end of the inodes, 32-byte aligned)
//   D       data blocks of 4096 bytes, in inode order (D = end of the table, block aligned)
//
// An inode is named by its nid: its offset in the file divided by 32.
// Spec: COMPOSEFS-FORMAT.md §2, §7, §9, §11; Linux Documentation/filesystems/erofs.rst.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <string_view>

#include "lib/base/little_endian.h"

namespace cfs::erofs {

constexpr uint64_t kBlockSize = 4096;
constexpr uint64_t kInodeAlignment = 32;
constexpr uint64_t kFirstInodeOffset = 1152;
constexpr uint64_t kSuperBlockOffset = 1024;
constexpr size_t kMaxSharedXattrs = 128;
constexpr size_t kMaxXattrCount = 65535;  // of i_xattr_icount
constexpr unsigned kMinChunkBits = 12;
constexpr unsigned kMaxChunkBits = 43;
constexpr uint64_t kMaxChunks = 1024;
constexpr size_t kMaxInlineTailBytes = 2048;

/// Offset 0.
struct ComposefsHeader {
  le32 magic;              //  0: kComposefsMagic
  le32 version;            //  4: layout version, 1
  le32 flags;              //  8: kHeaderHasAcl
  le32 composefs_version;  // 12: 0 or 1
  le32 unused[4];          // 16
};
static_assert(sizeof(ComposefsHeader) == 32);
constexpr uint32_t kComposefsMagic = 0xd078629a;
constexpr uint32_t kHeaderVersion = 1;
constexpr uint32_t kHeaderHasAcl = 1;

/// Offset 1024.
struct SuperBlock {
  le32 magic;                     //   0: kErofsMagic
  le32 checksum;                  //   4: 0
  le32 feature_compat;            //   8: kFeatureCompat
  uint8_t block_size_bits;        //  12: 12
  uint8_t ext_slots;              //  13: 0
  le16 root_nid;                  //  14
  le64 inode_count;               //  16
  le64 build_time_seconds;        //  24: smallest mtime of all inodes
  le32 build_time_nanoseconds;    //  32
  le32 block_count;               //  36: file size / 4096
  le32 metadata_block;            //  40: 0
  le32 xattr_block;               //  44: M / 4096
  uint8_t uuid[16];               //  48: all zero from here on
  uint8_t volume_name[16];        //  64
  le32 feature_incompat;          //  80
  le16 compression_algorithms;    //  84
  le16 extra_devices;             //  86
  le16 device_table_slot;         //  88
  uint8_t directory_block_bits;   //  90
  uint8_t xattr_prefix_count;     //  91
  le32 xattr_prefix_start;        //  92
  le64 packed_nid;                //  96
  uint8_t xattr_filter_reserved;  // 104
  uint8_t reserved[23];           // 105
};
static_assert(sizeof(SuperBlock) == 128 && offsetof(SuperBlock, packed_nid) == 96);
constexpr uint32_t kErofsMagic = 0xe0f5e1e2;
constexpr uint32_t kFeatureCompat = 2 | 4;  // MTIME, XATTR_FILTER

enum class InodeLayout : unsigned { kFlatPlain = 0, kFlatInline = 2, kChunkBased = 4 };

/// Inode whose mtime is the superblock's build time and whose numbers are small.
struct CompactInode {
  le16 format;       //  0: layout << 1
  le16 xattr_count;  //  2: 0, or 1 + (size of xattrs - 12) / 4
  le16 mode;         //  4
  le16 nlink;        //  6
  le32 size;         //  8
  le32 reserved_12;  // 12
  le32 u;            // 16: first data block, device number or chunk format
  le32 ino;          // 20: position in breadth-first order
  le16 uid;          // 24
  le16 gid;          // 26
  le32 reserved_28;  // 28
};
static_assert(sizeof(CompactInode) == 32 && offsetof(CompactInode, uid) == 24);

struct ExtendedInode {
  le16 format;              //  0: layout << 1 | 1
  le16 xattr_count;         //  2
  le16 mode;                //  4
  le16 reserved_6;          //  6
  le64 size;                //  8
  le32 u;                   // 16
  le32 ino;                 // 20
  le32 uid;                 // 24
  le32 gid;                 // 28
  le64 mtime_seconds;       // 32
  le32 mtime_nanoseconds;   // 40
  le32 nlink;               // 44
  uint8_t reserved_48[16];  // 48
};
static_assert(sizeof(ExtendedInode) == 64 && offsetof(ExtendedInode, nlink) == 44);

/// Behind an inode that has xattrs; then the shared ids (le32 each), then inline XattrEntry.
struct XattrHeader {
  le32 name_filter;
  uint8_t shared_count;
  uint8_t reserved[7];
};
static_assert(sizeof(XattrHeader) == 12);

/// Then the name's suffix and the value; padded to 4 bytes.
struct XattrEntry {
  uint8_t name_size;
  uint8_t name_index;
  le16 value_size;
};
static_assert(sizeof(XattrEntry) == 4);

struct DirectoryEntry {
  le64 nid;
  le16 name_offset;  // from the start of the block
  uint8_t file_type;
  uint8_t reserved;
};
static_assert(sizeof(DirectoryEntry) == 12);

enum class FileType : uint8_t {
  kRegular = 1,
  kDirectory = 2,
  kCharDevice = 3,
  kBlockDevice = 4,
  kFifo = 5,
  kSocket = 6,
  kSymlink = 7,
};

constexpr FileType file_type_of_mode(uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return FileType::kDirectory;
    case S_IFLNK:
      return FileType::kSymlink;
    case S_IFCHR:
      return FileType::kCharDevice;
    case S_IFBLK:
      return FileType::kBlockDevice;
    case S_IFIFO:
      return FileType::kFifo;
    case S_IFSOCK:
      return FileType::kSocket;
    default:
      return FileType::kRegular;
  }
}

// FORMAT BREAK: everything below is part of the image's bytes.
constexpr uint32_t kXattrFilterSeed = 0x25bbe08f;
constexpr uint8_t kMetacopyHeader[4] = {0, 36, 0, 1};  // version, length, flags, SHA-256

// Attributes that overlayfs reads. One of the tree whose name begins so is escaped in the image.
// Spec: COMPOSEFS-FORMAT.md §5.
constexpr std::string_view kOverlayPrefix = "trusted.overlay.";
constexpr std::string_view kEscapedPrefix = "trusted.overlay.overlay.";
constexpr std::string_view kMetacopy = "trusted.overlay.metacopy";
constexpr std::string_view kRedirect = "trusted.overlay.redirect";
/// On the root, with the value "y".
constexpr std::string_view kOpaque = "trusted.overlay.opaque";
/// On a whiteout, as the image has them.
constexpr std::string_view kWhiteoutMarks[] = {"trusted.overlay.overlay.whiteout",
                                               "user.overlay.whiteout"};
/// On a directory that holds a whiteout, as a tree would have them: the first two without a value,
/// the other two with "x", in version 1 only.
constexpr std::string_view kDirectoryMarks[] = {"trusted.overlay.whiteouts",
                                                "user.overlay.whiteouts"};
constexpr std::string_view kOpaqueMarks[] = {"trusted.overlay.opaque", "user.overlay.opaque"};

}  // namespace cfs::erofs
