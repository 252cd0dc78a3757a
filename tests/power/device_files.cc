// SPDX-License-Identifier: Apache-2.0
#include "tests/power/device_files.h"

#include <ext2fs/ext2fs.h>

#include <algorithm>
#include <vector>

#include "lib/base/little_endian.h"
#include "lib/disk/ext4_layout.h"
#include "lib/sysroot/layout.h"

namespace cfs::power {
namespace {

constexpr size_t kMaxFileBytes = 256U << 20;

Error ext4_error(errcode_t code, const std::string& what) {
  return make_error(code == EXT2_ET_FILE_NOT_FOUND ? ErrorCode::kNotFound : ErrorCode::kCorrupt,
                    "cannot " + what + ": " + error_message(code));
}

}  // namespace

Result<std::string> DirectoryFiles::read_link(const std::string& path) {
  return cfs_.read_link(path);
}

Result<std::string> DirectoryFiles::read_file(const std::string& path) {
  return cfs_.read_file(path, kMaxFileBytes);
}

Result<> DirectoryFiles::check_verity(const std::string&, const verity::Metadata&) { return {}; }

struct Ext4Files::State {
  ext2_filsys fs = nullptr;
  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    if (fs != nullptr) (void)ext2fs_close_free(&fs);  // nothing was written
  }

  struct Inode {
    ext2_ino_t number = 0;
    ext2_inode value{};
  };

  Result<Inode> find(const std::string& path) const {
    const std::string full = std::string("/") + sysroot::kSysrootDirectory + "/" + path;
    Inode inode;
    errcode_t failed = ext2fs_namei(fs, EXT2_ROOT_INO, EXT2_ROOT_INO, full.c_str(), &inode.number);
    if (failed == 0) failed = ext2fs_read_inode(fs, inode.number, &inode.value);
    if (failed != 0) return ext4_error(failed, "find '" + path + "'");
    return inode;
  }

  /// `count` bytes of the data blocks, those behind the end of the file too; holes are zeros.
  Result<std::string> read(const Inode& inode, uint64_t offset, size_t count) const {
    ext2_inode whole = inode.value;
    errcode_t failed = ext2fs_inode_size_set(fs, &whole, static_cast<ext2_off64_t>(offset + count));
    ext2_file_t file = nullptr;
    if (failed == 0) failed = ext2fs_file_open2(fs, inode.number, &whole, 0, &file);
    if (failed != 0) return ext4_error(failed, "open a file");
    std::string data(count, '\0');
    failed = ext2fs_file_llseek(file, offset, EXT2_SEEK_SET, nullptr);
    for (size_t done = 0; failed == 0 && done < count;) {
      unsigned got = 0;
      unsigned wanted = static_cast<unsigned>(std::min<size_t>(count - done, 1U << 20));
      failed = ext2fs_file_read(file, data.data() + done, wanted, &got);
      if (failed == 0 && got == 0) failed = EXT2_ET_SHORT_READ;
      done += got;
    }
    (void)ext2fs_file_close(file);  // nothing was written
    if (failed != 0) return ext4_error(failed, "read a file");
    return data;
  }

  /// Where the last extent ends.
  Result<uint64_t> end_of_blocks(const Inode& inode) const {
    ext2_extent_handle_t extents = nullptr;
    errcode_t failed = ext2fs_extent_open(fs, inode.number, &extents);
    if (failed != 0) return ext4_error(failed, "read the extents of a file");
    ext2fs_extent last{};
    failed = ext2fs_extent_get(extents, EXT2_EXTENT_LAST_LEAF, &last);
    ext2fs_extent_free(extents);
    if (failed == EXT2_ET_EXTENT_NO_NEXT || failed == EXT2_ET_EXTENT_NOT_FOUND) return uint64_t{0};
    if (failed != 0) return ext4_error(failed, "read the extents of a file");
    return (last.e_lblk + last.e_len) * disk::kBlockBytes;
  }
};

Result<Ext4Files> Ext4Files::open(const std::string& image) {
  auto state = std::make_unique<State>();
  errcode_t failed =
      ext2fs_open(image.c_str(), EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &state->fs);
  if (failed != 0) return ext4_error(failed, "open the file system in '" + image + "'");
  if (state->fs->blocksize != disk::kBlockBytes) {
    return make_error(ErrorCode::kUnsupported, "'" + image + "' has not 4 KiB blocks");
  }
  if (ext2fs_has_feature_journal_needs_recovery(state->fs->super)) {
    return make_error(ErrorCode::kInvalidInput, "'" + image + "' has a journal to be replayed");
  }
  return Ext4Files(std::move(state));
}

Ext4Files::Ext4Files(std::unique_ptr<State> state) : state_(std::move(state)) {}
Ext4Files::Ext4Files(Ext4Files&&) noexcept = default;
Ext4Files::~Ext4Files() = default;

Result<std::string> Ext4Files::read_link(const std::string& path) {
  State::Inode inode = CFS_TRY(state_->find(path));
  if (!LINUX_S_ISLNK(inode.value.i_mode)) {
    return make_error(ErrorCode::kInvalidInput, "'" + path + "' is not a symlink");
  }
  const size_t size = EXT2_I_SIZE(&inode.value);
  if (ext2fs_is_fast_symlink(&inode.value) != 0) {
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the text stands in the inode
    return std::string(reinterpret_cast<const char*>(inode.value.i_block), size);
  }
  return state_->read(inode, 0, size);
}

Result<std::string> Ext4Files::read_file(const std::string& path) {
  State::Inode inode = CFS_TRY(state_->find(path));
  if (!LINUX_S_ISREG(inode.value.i_mode)) {
    return make_error(ErrorCode::kInvalidInput, "'" + path + "' is not a regular file");
  }
  const uint64_t size = EXT2_I_SIZE(&inode.value);
  if (size > kMaxFileBytes) return make_error(ErrorCode::kCorrupt, "'" + path + "' is too large");
  return CFS_TRY_WITH("while reading '" + path + "'", state_->read(inode, 0, size));
}

// Spec: fsverity.rst, "ext4": the tree, the descriptor, and at the end of the last block the size
// of the latter.
Result<> Ext4Files::check_verity(const std::string& path, const verity::Metadata& expected) {
  State::Inode inode = CFS_TRY(state_->find(path));
  if ((inode.value.i_flags & EXT4_VERITY_FL) == 0) {
    return make_error(ErrorCode::kNoVerity, "'" + path + "' has no fs-verity");
  }
  auto check = [&]() -> Result<> {
    const uint64_t end = CFS_TRY(state_->end_of_blocks(inode));
    const uint64_t tree_start = align_up(EXT2_I_SIZE(&inode.value), disk::kVerityAlignmentBytes);
    const uint64_t descriptor_start =
        align_up(tree_start + expected.tree.size(), disk::kBlockBytes);
    if (end < descriptor_start + disk::kBlockBytes) {
      return make_error(ErrorCode::kCorrupt, "its blocks end before the descriptor does");
    }
    std::string tree = CFS_TRY(state_->read(inode, tree_start, expected.tree.size()));
    if (!std::ranges::equal(as_bytes(tree), expected.tree)) {
      return make_error(ErrorCode::kCorrupt, "another Merkle tree");
    }
    std::string descriptor =
        CFS_TRY(state_->read(inode, descriptor_start, expected.descriptor.size()));
    if (!std::ranges::equal(as_bytes(descriptor), expected.descriptor)) {
      return make_error(ErrorCode::kCorrupt, "another descriptor");
    }
    le32 size;
    std::string last = CFS_TRY(state_->read(inode, end - sizeof(size), sizeof(size)));
    std::memcpy(&size, last.data(), sizeof(size));
    if (size != expected.descriptor.size()) {
      return make_error(ErrorCode::kCorrupt, "another size of the descriptor");
    }
    return {};
  };
  CFS_TRY_WITH("while checking the fs-verity metadata of '" + path + "'", check());
  return {};
}

}  // namespace cfs::power
