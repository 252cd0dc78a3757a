// SPDX-License-Identifier: Apache-2.0
//
// Files with fs-verity in an ext4 file system, without a kernel. What ext4 keeps of fs-verity lies
// in blocks of the file itself, behind its end:
//
//   0            i_size     align_up(i_size, 64 KiB)
//   ├─ content ──┤          ├─ Merkle tree ─┤├─ descriptor ─ … ─ length of the descriptor ┤
//                                            one block, the length in its last 4 bytes
//
// with EXT4_VERITY_FL in the inode. The kernel finds the length at the end of the last extent, goes
// back to the descriptor, and finds the tree by i_size. Spec: fsverity.rst, "ext4".
//
// libext2fs allocates the blocks of a file, and we write them into the disk image with plain
// pwrite: its file interface would map, copy and cache each 4 KiB block.
#include "lib/disk/ext4_writer.h"

#include <ext2fs/ext2fs.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <map>
#include <unordered_map>

#include "lib/base/check.h"
#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/base/little_endian.h"
#include "lib/base/relative_path.h"
#include "lib/disk/content.h"
#include "lib/disk/ext4_layout.h"
#include "lib/verity/merkle.h"

namespace cfs::disk {
namespace {

constexpr uint32_t kVerityFlag = 0x00100000;  // EXT4_VERITY_FL
constexpr size_t kChunkBytes = 1U << 20;
constexpr uint32_t kMaxSubdirectories = 64998;
constexpr int64_t kFirstTime = -(int64_t{1} << 31);
constexpr int64_t kLastTime = (int64_t{1} << 34) - (int64_t{1} << 31) - 1;

Error ext2_error(errcode_t code, const std::string& what) {
  constexpr errcode_t kFirstTableCode = 256;  // below: errno values
  if (code > 0 && code < kFirstTableCode) return errno_error(what, static_cast<int>(code));
  initialize_ext2_error_table();
  Error error = make_error(ErrorCode::kIo, what + ": " + error_message(code));
  if (code == EXT2_ET_BLOCK_ALLOC_FAIL || code == EXT2_ET_INODE_ALLOC_FAIL) {
    error.code = ErrorCode::kNoSpace;
  }
  return error;
}

#define CFS_TRY_EXT2(call, what)                                              \
  do {                                                                        \
    if (errcode_t code_ = (call); code_ != 0) return ext2_error(code_, what); \
  } while (false)

int directory_file_type(uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return EXT2_FT_REG_FILE;
    case S_IFLNK:
      return EXT2_FT_SYMLINK;
    case S_IFDIR:
      return EXT2_FT_DIR;
    case S_IFCHR:
      return EXT2_FT_CHRDEV;
    case S_IFBLK:
      return EXT2_FT_BLKDEV;
    case S_IFIFO:
      return EXT2_FT_FIFO;
    case S_IFSOCK:
      return EXT2_FT_SOCK;
    default:
      return EXT2_FT_UNKNOWN;
  }
}

ext2_inode* as_small(ext2_inode_large& inode) { return reinterpret_cast<ext2_inode*>(&inode); }

/// The low 32 bits of a time stand in the inode's first half; the extra word has 2 more bits of
/// seconds and the nanoseconds. Spec: ext4 documentation, "Inode Timestamps".
void set_time(uint32_t& low, uint32_t& extra, int64_t seconds, uint32_t nanoseconds) {
  low = static_cast<uint32_t>(seconds);
  int64_t epoch = (seconds - static_cast<int32_t>(low)) >> 32;
  extra = (static_cast<uint32_t>(epoch) & 3) | nanoseconds << 2;
}

void set_attributes(ext2_inode_large& inode, const RootEntry& entry, int64_t now_seconds) {
  inode.i_mode = static_cast<uint16_t>(entry.mode);
  inode.i_uid = static_cast<uint16_t>(entry.uid);
  inode.i_gid = static_cast<uint16_t>(entry.gid);
  ext2fs_set_i_uid_high(inode, static_cast<uint16_t>(entry.uid >> 16));
  ext2fs_set_i_gid_high(inode, static_cast<uint16_t>(entry.gid >> 16));
  inode.i_extra_isize = sizeof(ext2_inode_large) - EXT2_GOOD_OLD_INODE_SIZE;
  set_time(inode.i_mtime, inode.i_mtime_extra, entry.mtime_seconds, entry.mtime_nanoseconds);
  set_time(inode.i_atime, inode.i_atime_extra, entry.mtime_seconds, entry.mtime_nanoseconds);
  set_time(inode.i_ctime, inode.i_ctime_extra, now_seconds, 0);
  set_time(inode.i_crtime, inode.i_crtime_extra, now_seconds, 0);
}

void set_device(ext2_inode_large& inode, dev_t device) {
  uint32_t major_number = major(device);
  uint32_t minor_number = minor(device);
  if (major_number < 256 && minor_number < 256) {
    inode.i_block[0] = major_number << 8 | minor_number;
  } else {
    inode.i_block[1] = (minor_number & 0xff) | major_number << 8 | (minor_number & ~0xffU) << 12;
  }
}

bool is_known_xattr(const std::string& key) {
  for (std::string_view prefix : {"user.", "trusted.", "security."}) {
    if (key.size() > prefix.size() && key.compare(0, prefix.size(), prefix) == 0) return true;
  }
  return key == "system.posix_acl_access" || key == "system.posix_acl_default";
}

Result<> check(const RootEntry& entry) {
  auto bad = [&](std::string_view what) {
    return make_error(ErrorCode::kInvalidInput,
                      "cannot write '" + entry.path + "': " + std::string(what));
  };
  bool is_root = entry.path.empty() && S_ISDIR(entry.mode) && entry.link_to.empty();
  if (!is_root && !is_plain_path(entry.path)) return bad("not a relative path of plain names");
  if (!entry.link_to.empty()) return {};
  if (directory_file_type(entry.mode) == EXT2_FT_UNKNOWN) return bad("it has no file type");
  if (entry.mtime_seconds < kFirstTime || entry.mtime_seconds > kLastTime ||
      entry.mtime_nanoseconds > 999'999'999) {
    return bad("ext4 cannot hold its time");
  }
  if (S_ISLNK(entry.mode) &&
      (entry.symlink_target.empty() || entry.symlink_target.size() >= kBlockBytes)) {
    return bad("a symlink's target has 1 to 4095 bytes");
  }
  if (entry.verity && !S_ISREG(entry.mode)) return bad("only files can have fs-verity");
  for (const auto& [key, value] : entry.xattrs) {
    if (!is_known_xattr(key)) return bad("ext4 has no xattr '" + key + "'");
  }
  return {};
}

/// A content, read from its start in pieces.
class Reader {
 public:
  [[nodiscard]] static Result<Reader> open(const Content& content) {
    Reader reader;
    if (const auto* host = std::get_if<HostFile>(&content)) {
      reader.fd_ = CFS_TRY(open_regular_at(AT_FDCWD, host->path));
    } else {
      reader.text_ = as_bytes(std::get<std::string>(content));
    }
    return reader;
  }
  /// Fills the buffer unless the content ends.
  [[nodiscard]] Result<size_t> read(std::span<std::byte> buffer) {
    if (fd_.valid()) return read_full(fd_.get(), buffer);
    size_t count = std::min(buffer.size(), text_.size());
    std::copy_n(text_.begin(), count, buffer.begin());
    text_ = text_.subspan(count);
    return count;
  }

 private:
  UniqueFd fd_;
  Bytes text_;
};

}  // namespace

struct Ext4Writer::State {
  struct Known {
    ext2_ino_t number = 0;
    uint32_t mode = 0;
    uint32_t subdirectories = 0;
  };
  /// Consecutive blocks of a file that are consecutive on disk too.
  struct Run {
    uint64_t logical = 0;
    uint64_t physical = 0;
    uint64_t length = 0;
  };

  ~State() {
    if (fs != nullptr) ext2fs_free(fs);  // without writing
  }

  [[nodiscard]] Result<> add(const RootEntry& entry,
                             const std::function<void(uint64_t)>& on_progress);
  [[nodiscard]] Result<Known*> make_directory(const std::string& path);
  [[nodiscard]] Result<Known*> parent_of(const std::string& path);
  [[nodiscard]] Result<> link(const Known& parent, const std::string& path, ext2_ino_t number,
                              uint32_t mode);
  [[nodiscard]] Result<> add_link(const RootEntry& entry);
  [[nodiscard]] Result<> write_file(const RootEntry& entry, ext2_ino_t number,
                                    ext2_inode_large& inode, const Content& content,
                                    const std::function<void(uint64_t)>& on_progress);
  [[nodiscard]] Result<> allocate(ext2_ino_t number, ext2_inode_large& inode, uint64_t first_block,
                                  uint64_t block_count);
  [[nodiscard]] Result<std::vector<Run>> runs_of(ext2_ino_t number, ext2_inode_large& inode);
  [[nodiscard]] Result<> write_blocks(std::span<const Run> runs, uint64_t logical, Bytes blocks);
  [[nodiscard]] Result<> write_xattrs(const RootEntry& entry, ext2_ino_t number);
  [[nodiscard]] Result<> finish_directories();

  ext2_filsys fs = nullptr;
  UniqueFd file;
  uint64_t offset_bytes = 0;
  int64_t now_seconds = 0;
  uint64_t next_block = 0;  ///< contents are laid out one behind the other
  std::unordered_map<std::string, Known> known;
  std::map<ext2_ino_t, RootEntry> directories;  ///< attributes, set when all is in them
  std::vector<std::byte> chunk = std::vector<std::byte>(kChunkBytes);
};

Result<Ext4Writer::State::Known*> Ext4Writer::State::parent_of(const std::string& path) {
  size_t slash = path.rfind('/');
  std::string parent = slash == std::string::npos ? "" : path.substr(0, slash);
  auto found = known.find(parent);
  if (found == known.end()) return make_directory(parent);
  if (!S_ISDIR(found->second.mode)) {
    return make_error(ErrorCode::kInvalidInput,
                      "cannot write '" + path + "': '" + parent + "' is not a directory");
  }
  return &found->second;
}

Result<Ext4Writer::State::Known*> Ext4Writer::State::make_directory(const std::string& path) {
  Known* parent = CFS_TRY(parent_of(path));
  const std::string what = "cannot make the directory '" + path + "'";
  if (parent->subdirectories >= kMaxSubdirectories) {
    return make_error(ErrorCode::kUnsupported, what + ": its parent has 64,998 of them");
  }
  ext2_ino_t number = 0;
  CFS_TRY_EXT2(ext2fs_new_inode(fs, parent->number, S_IFDIR, nullptr, &number), what);
  std::string name = path.substr(path.rfind('/') + 1);
  errcode_t code = ext2fs_mkdir(fs, parent->number, number, name.c_str());
  if (code == EXT2_ET_DIR_NO_SPACE) {
    CFS_TRY_EXT2(ext2fs_expand_dir(fs, parent->number), what);
    code = ext2fs_mkdir(fs, parent->number, number, name.c_str());
  }
  CFS_TRY_EXT2(code, what);
  ++parent->subdirectories;
  directories[number] = {.path = path, .mode = S_IFDIR | 0755, .mtime_seconds = now_seconds};
  return &known.insert({path, {.number = number, .mode = S_IFDIR}}).first->second;
}

Result<> Ext4Writer::State::link(const Known& parent, const std::string& path, ext2_ino_t number,
                                 uint32_t mode) {
  std::string name = path.substr(path.rfind('/') + 1);
  int type = directory_file_type(mode);
  const std::string what = "cannot add the name '" + path + "'";
  errcode_t code = ext2fs_link(fs, parent.number, name.c_str(), number, type);
  if (code == EXT2_ET_DIR_NO_SPACE) {
    CFS_TRY_EXT2(ext2fs_expand_dir(fs, parent.number), what);
    code = ext2fs_link(fs, parent.number, name.c_str(), number, type);
  }
  CFS_TRY_EXT2(code, what);
  known[path] = {.number = number, .mode = mode};
  return {};
}

Result<> Ext4Writer::State::add_link(const RootEntry& entry) {
  const std::string what = "cannot link '" + entry.path + "' to '" + entry.link_to + "'";
  auto target = known.find(entry.link_to);
  if (target == known.end() || S_ISDIR(target->second.mode)) {
    return make_error(ErrorCode::kInvalidInput, what + ": no such file before it");
  }
  Known file_of_link = target->second;
  Known* parent = CFS_TRY(parent_of(entry.path));
  ext2_inode_large inode = {};
  CFS_TRY_EXT2(ext2fs_read_inode_full(fs, file_of_link.number, as_small(inode), sizeof(inode)),
               what);
  if (inode.i_links_count >= EXT2_LINK_MAX) {
    return make_error(ErrorCode::kUnsupported, what + ": the file has too many names");
  }
  ++inode.i_links_count;
  CFS_TRY_EXT2(ext2fs_write_inode_full(fs, file_of_link.number, as_small(inode), sizeof(inode)),
               what);
  return link(*parent, entry.path, file_of_link.number, file_of_link.mode);
}

Result<> Ext4Writer::State::add(const RootEntry& entry,
                                const std::function<void(uint64_t)>& on_progress) {
  CFS_TRY(check(entry));
  auto existing = known.find(entry.path);
  if (S_ISDIR(entry.mode) && entry.link_to.empty()) {
    Known* directory = nullptr;
    if (existing == known.end()) {
      directory = CFS_TRY(make_directory(entry.path));
    } else if (S_ISDIR(existing->second.mode)) {
      directory = &existing->second;
    } else {
      return make_error(ErrorCode::kExists, "'" + entry.path + "' is a file and a directory");
    }
    directories[directory->number] = entry;
    return {};
  }
  if (existing != known.end()) {
    return make_error(ErrorCode::kExists, "'" + entry.path + "' is there twice");
  }
  if (!entry.link_to.empty()) return add_link(entry);

  const std::string what = "cannot write '" + entry.path + "'";
  Known* parent = CFS_TRY(parent_of(entry.path));
  ext2_ino_t number = 0;
  CFS_TRY_EXT2(ext2fs_new_inode(fs, parent->number, static_cast<int>(entry.mode), nullptr, &number),
               what);
  ext2fs_inode_alloc_stats2(fs, number, +1, 0);
  ext2_inode_large inode = {};
  set_attributes(inode, entry, now_seconds);
  inode.i_links_count = 1;
  if (S_ISREG(entry.mode)) {
    CFS_TRY(write_file(entry, number, inode, entry.content, on_progress));
  } else if (S_ISLNK(entry.mode) && entry.symlink_target.size() >= kMaxFastSymlinkBytes) {
    CFS_TRY(write_file(entry, number, inode, entry.symlink_target, {}));
  } else if (S_ISLNK(entry.mode)) {
    inode.i_size = static_cast<uint32_t>(entry.symlink_target.size());
    std::memcpy(inode.i_block, entry.symlink_target.data(), entry.symlink_target.size());
  } else if (S_ISCHR(entry.mode) || S_ISBLK(entry.mode)) {
    set_device(inode, entry.device);
  }
  CFS_TRY_EXT2(ext2fs_write_inode_full(fs, number, as_small(inode), sizeof(inode)), what);
  CFS_TRY(write_xattrs(entry, number));
  return link(*parent, entry.path, number, entry.mode);
}

Result<> Ext4Writer::State::allocate(ext2_ino_t number, ext2_inode_large& inode,
                                     uint64_t first_block, uint64_t block_count) {
  if (block_count == 0) return {};
  CFS_TRY_EXT2(ext2fs_fallocate(fs, EXT2_FALLOCATE_FORCE_INIT | EXT2_FALLOCATE_INIT_BEYOND_EOF,
                                number, as_small(inode), next_block, first_block, block_count),
               "cannot allocate blocks");
  return {};
}

Result<std::vector<Ext4Writer::State::Run>> Ext4Writer::State::runs_of(ext2_ino_t number,
                                                                       ext2_inode_large& inode) {
  std::vector<Run> runs;
  ext2_extent_handle_t raw = nullptr;
  CFS_TRY_EXT2(ext2fs_extent_open2(fs, number, as_small(inode), &raw), "cannot read extents");
  std::unique_ptr<ext2_extent_handle, void (*)(ext2_extent_handle_t)> handle(raw,
                                                                             ext2fs_extent_free);
  ext2fs_extent extent = {};
  errcode_t code = ext2fs_extent_get(raw, EXT2_EXTENT_ROOT, &extent);
  for (; code == 0; code = ext2fs_extent_get(raw, EXT2_EXTENT_NEXT, &extent)) {
    if ((extent.e_flags & EXT2_EXTENT_FLAGS_LEAF) == 0) continue;
    CFS_CHECK((extent.e_flags & EXT2_EXTENT_FLAGS_UNINIT) == 0);
    runs.push_back({.logical = extent.e_lblk, .physical = extent.e_pblk, .length = extent.e_len});
  }
  if (code != EXT2_ET_EXTENT_NO_NEXT && code != EXT2_ET_NO_CURRENT_NODE) {
    return ext2_error(code, "cannot read extents");
  }
  return runs;
}

Result<> Ext4Writer::State::write_blocks(std::span<const Run> runs, uint64_t logical,
                                         Bytes blocks) {
  while (!blocks.empty()) {
    auto run = std::find_if(runs.begin(), runs.end(), [&](const Run& candidate) {
      return logical >= candidate.logical && logical < candidate.logical + candidate.length;
    });
    CFS_CHECK(run != runs.end());
    uint64_t into = logical - run->logical;
    uint64_t count = std::min<uint64_t>(run->length - into, blocks.size() / kBlockBytes);
    CFS_TRY(pwrite_full(file.get(), blocks.first(count * kBlockBytes),
                        offset_bytes + (run->physical + into) * kBlockBytes));
    logical += count;
    blocks = blocks.subspan(count * kBlockBytes);
  }
  return {};
}

Result<> Ext4Writer::State::write_file(const RootEntry& entry, ext2_ino_t number,
                                       ext2_inode_large& inode, const Content& content,
                                       const std::function<void(uint64_t)>& on_progress) {
  uint64_t size_bytes = CFS_TRY(size_of(content));
  uint64_t data_blocks = (size_bytes + kBlockBytes - 1) / kBlockBytes;
  uint64_t metadata_block = align_up(size_bytes, kVerityAlignmentBytes) / kBlockBytes;
  inode.i_flags |= EXT4_EXTENTS_FL;
  CFS_TRY_EXT2(ext2fs_inode_size_set(fs, as_small(inode), static_cast<ext2_off64_t>(size_bytes)),
               "'" + entry.path + "' is too large");
  CFS_TRY(allocate(number, inode, 0, data_blocks));
  if (entry.verity) {
    CFS_TRY(allocate(number, inode, metadata_block, verity::tree_blocks(size_bytes) + 1));
    inode.i_flags |= kVerityFlag;
  }
  std::vector<Run> runs = CFS_TRY(runs_of(number, inode));
  if (!runs.empty()) next_block = runs.back().physical + runs.back().length;
  // Behind the last block there is none to look for.
  if (next_block >= ext2fs_blocks_count(fs->super)) next_block = fs->super->s_first_data_block;

  Reader reader = CFS_TRY(Reader::open(content));
  verity::MerkleHasher hasher(verity::TreeBlocks::kKeep);
  for (uint64_t done = 0;;) {
    CFS_TRY(check_interrupted());
    size_t count = CFS_TRY(reader.read(chunk));
    bool at_end = count < chunk.size();
    if (done + count > size_bytes || (at_end && done + count < size_bytes)) {
      return make_error(ErrorCode::kSourceChanged,
                        "the content of '" + entry.path + "' changed while it was read");
    }
    if (entry.verity) hasher.update(Bytes(chunk).first(count));
    size_t padded = align_up(count, kBlockBytes);
    std::fill(chunk.begin() + static_cast<std::ptrdiff_t>(count),
              chunk.begin() + static_cast<std::ptrdiff_t>(padded), std::byte{0});
    CFS_TRY(write_blocks(runs, done / kBlockBytes, Bytes(chunk).first(padded)));
    done += count;
    if (on_progress && count > 0) on_progress(count);
    if (at_end) break;
  }
  if (!entry.verity) return {};

  verity::Metadata metadata = hasher.finish_metadata();
  if (metadata.digest != *entry.verity) {
    return make_error(ErrorCode::kDigestMismatch, "the content of '" + entry.path +
                                                      "' has the digest " + metadata.digest.hex() +
                                                      ", not " + entry.verity->hex());
  }
  CFS_CHECK(metadata.tree.size() == verity::tree_blocks(size_bytes) * kBlockBytes);
  std::vector<std::byte>& blocks = metadata.tree;
  size_t descriptor_offset = blocks.size();
  blocks.resize(blocks.size() + kBlockBytes);
  std::copy(metadata.descriptor.begin(), metadata.descriptor.end(),
            blocks.begin() + static_cast<std::ptrdiff_t>(descriptor_offset));
  le32 descriptor_size = static_cast<uint32_t>(metadata.descriptor.size());
  std::memcpy(blocks.data() + blocks.size() - sizeof(descriptor_size), &descriptor_size,
              sizeof(descriptor_size));
  return write_blocks(runs, metadata_block, blocks);
}

Result<> Ext4Writer::State::write_xattrs(const RootEntry& entry, ext2_ino_t number) {
  if (entry.xattrs.empty()) return {};
  const std::string what = "cannot set the xattrs of '" + entry.path + "'";
  ext2_xattr_handle* raw = nullptr;
  CFS_TRY_EXT2(ext2fs_xattrs_open(fs, number, &raw), what);
  struct Closer {
    void operator()(ext2_xattr_handle* handle) const { ext2fs_xattrs_close(&handle); }
  };
  std::unique_ptr<ext2_xattr_handle, Closer> handle(raw);
  CFS_TRY_EXT2(ext2fs_xattrs_read(raw), what);
  for (const auto& [key, value] : entry.xattrs) {
    errcode_t code = ext2fs_xattr_set(raw, key.c_str(), value.data(), value.size());
    if (code == EXT2_ET_EA_NO_SPACE || code == EINVAL) {
      Error error = ext2_error(code, what);
      error.code = ErrorCode::kInvalidInput;
      return error;
    }
    CFS_TRY_EXT2(code, what);
  }
  return {};
}

Result<> Ext4Writer::State::finish_directories() {
  for (const auto& [number, entry] : directories) {
    const std::string what = "cannot set the attributes of the directory '" + entry.path + "'";
    ext2_inode_large inode = {};
    CFS_TRY_EXT2(ext2fs_read_inode_full(fs, number, as_small(inode), sizeof(inode)), what);
    set_attributes(inode, entry, now_seconds);
    CFS_TRY_EXT2(ext2fs_write_inode_full(fs, number, as_small(inode), sizeof(inode)), what);
    CFS_TRY(write_xattrs(entry, number));
  }
  return {};
}

Result<Ext4Writer> Ext4Writer::open(const std::string& path, uint64_t offset_bytes,
                                    int64_t now_seconds) {
  auto state = std::make_unique<State>();
  state->offset_bytes = offset_bytes;
  state->now_seconds = now_seconds;
  state->file = CFS_TRY(open_at(AT_FDCWD, path, O_WRONLY));
  const std::string what = "cannot open the ext4 file system in '" + path + "'";
  std::string options = "offset=" + std::to_string(offset_bytes);
  CFS_TRY_EXT2(ext2fs_open2(path.c_str(), options.c_str(), EXT2_FLAG_RW | EXT2_FLAG_64BITS, 0, 0,
                            unix_io_manager, &state->fs),
               what);
  ext2_filsys fs = state->fs;
  if (fs->blocksize != kBlockBytes || EXT2_INODE_SIZE(fs->super) != kInodeBytes ||
      !ext2fs_has_feature_extents(fs->super) || !ext2fs_has_feature_verity(fs->super)) {
    return make_error(ErrorCode::kUnsupported, what + ": not one that cfs made");
  }
  fs->now = now_seconds;
  CFS_TRY_EXT2(ext2fs_read_bitmaps(fs), what);
  state->known[""] = {.number = EXT2_ROOT_INO, .mode = S_IFDIR};
  state->directories[EXT2_ROOT_INO] = {.mode = S_IFDIR | 0755, .mtime_seconds = now_seconds};
  return Ext4Writer(std::move(state));
}

Result<> Ext4Writer::add(const RootEntry& entry, const std::function<void(uint64_t)>& on_progress) {
  return state_->add(entry, on_progress);
}

void Ext4Writer::reserve_for_root(uint64_t bytes) {
  ext2fs_r_blocks_count_set(state_->fs->super, bytes / kBlockBytes);
  ext2fs_mark_super_dirty(state_->fs);
}

uint64_t Ext4Writer::free_bytes() const {
  return ext2fs_free_blocks_count(state_->fs->super) * kBlockBytes;
}

Result<> Ext4Writer::close() {
  CFS_TRY(state_->finish_directories());
  errcode_t code = ext2fs_close_free(&state_->fs);
  CFS_TRY_EXT2(code, "cannot write the metadata of the ext4 file system");
  return {};
}

Ext4Writer::Ext4Writer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Ext4Writer::Ext4Writer(Ext4Writer&&) noexcept = default;
Ext4Writer::~Ext4Writer() = default;

}  // namespace cfs::disk
