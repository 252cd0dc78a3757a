// SPDX-License-Identifier: Apache-2.0
// The image is written front to back without ever being held in memory. That needs every position
// beforehand, so there are four passes over one flat array of inodes ("slots") in breadth-first
// order, in which the children of a directory are neighbours:
//
//   1. number    list the inodes; smallest mtime; which directories hold whiteouts
//   2. count     which xattrs are shared
//   3. place     sizes and positions of inodes (COMPOSEFS-FORMAT.md §8, §10)
//   4. emit      header, inodes with tails, shared xattr table, data blocks
//
// Xattr lists and directory blocks are made anew in each pass that needs them: cheaper than keeping
// them. The price of a slot is 32 bytes.
#include "lib/erofs/writer.h"

#include <algorithm>
#include <array>
#include <bit>
#include <unordered_map>

#include "lib/base/check.h"
#include "lib/base/io.h"
#include "lib/erofs/format.h"
#include "lib/erofs/xattr_table.h"
#include "lib/verity/merkle.h"

namespace cfs::erofs {
namespace {

constexpr size_t kOutputBufferBytes = 256 * 1024;
constexpr uint32_t kStubMode = S_IFCHR | 0644;

/// The names 00..ff, sorted.
const std::array<std::string, 256>& stub_names() {
  static const std::array<std::string, 256> names = [] {
    std::array<std::string, 256> result;
    for (unsigned i = 0; i < 256; ++i) {
      auto byte = static_cast<std::byte>(i);
      result[i] = to_hex(Bytes(&byte, 1));
    }
    return result;
  }();
  return names;
}

/// One inode of the image.
struct Slot {
  const tree::Node* node = nullptr;  ///< for a stub: the node in `stub_`
  uint32_t nid = 0;
  uint32_t parent = 0;       ///< index of the directory that holds its primary name
  uint32_t first_child = 0;  ///< directories: index of the first child inode
  uint32_t blocks = 0;       ///< out-of-line data blocks
  uint16_t tail_bytes = 0;   ///< inline behind the inode
  bool holds_whiteout = false;
};
static_assert(sizeof(Slot) == 32);

/// Collects output, hashes it and hands it on in large pieces.
class Output {
 public:
  explicit Output(const ByteSink& sink) : sink_(sink) {
    buffer_.reserve(kOutputBufferBytes + kBlockSize);
  }

  Result<> append(Bytes bytes) {
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
    return buffer_.size() >= kOutputBufferBytes ? flush() : Result<>();
  }
  template <typename Struct>
  Result<> append_struct(const Struct& value) {
    return append(std::as_bytes(std::span(&value, 1)));
  }
  Result<> append_text(std::string_view text) { return append(as_bytes(text)); }
  Result<> fill(uint64_t count, std::byte value) {
    while (count > 0) {
      size_t piece = std::min<uint64_t>(count, kBlockSize);
      buffer_.insert(buffer_.end(), piece, value);
      count -= piece;
      if (buffer_.size() >= kOutputBufferBytes) CFS_TRY(flush());
    }
    return {};
  }
  /// Zeros up to `offset`.
  Result<> pad_to(uint64_t target) {
    CFS_CHECK(target >= offset());
    return fill(target - offset(), std::byte{0});
  }
  [[nodiscard]] uint64_t offset() const { return flushed_ + buffer_.size(); }
  Result<> flush() {
    hasher_.update(buffer_);
    CFS_TRY(sink_(buffer_));
    flushed_ += buffer_.size();
    buffer_.clear();
    return {};
  }
  [[nodiscard]] verity::Digest digest() { return hasher_.finish(); }

 private:
  const ByteSink& sink_;
  std::vector<std::byte> buffer_;
  uint64_t flushed_ = 0;
  verity::MerkleHasher hasher_;
};

struct Chunks {
  unsigned bits;
  uint64_t count;
};

/// Spec: COMPOSEFS-FORMAT.md §8.
Chunks chunks_of(uint64_t size_bytes) {
  auto bits = static_cast<unsigned>(std::bit_width(size_bytes - 1));
  bits = std::clamp(bits, kMinChunkBits, kMaxChunkBits);
  uint64_t chunk_bytes = uint64_t{1} << bits;
  return {bits, size_bytes / chunk_bytes + (size_bytes % chunk_bytes != 0 ? 1 : 0)};
}

FileType file_type_of(const tree::Node& inode) {
  return inode.is_whiteout() ? FileType::kRegular : file_type_of_mode(inode.attributes.mode);
}

/// An entry of a directory as it is written, `.` and `..` included.
struct Entry {
  std::string_view name;
  uint32_t inode = 0;  ///< slot index
  FileType type = FileType::kRegular;
};

class Writer {
 public:
  Writer(const tree::Tree& tree, const VersionRange& versions) : tree_(tree), versions_(versions) {}

  Result<ImageInfo> write(const ByteSink& sink) {
    CFS_TRY(choose_version());
    CFS_TRY(number());
    CFS_TRY(count());
    CFS_TRY(place());
    Output output(sink);
    CFS_TRY(emit(output));
    ImageInfo info;
    info.size_bytes = output.offset();
    info.digest = output.digest();
    info.inode_count = slots_.size();
    info.version = version_;
    return info;
  }

 private:
  Result<> choose_version();
  Result<> number();
  Result<> add_children(uint32_t directory);
  Result<> count();
  Result<> place();
  Result<> place_one(Slot& slot, uint64_t& position);
  Result<> emit(Output& output);
  Result<> emit_header(Output& output, uint64_t block_count);
  Result<> emit_inode(Output& output, uint32_t index, uint64_t first_block);
  Result<> emit_xattrs(Output& output, std::span<const ImageXattr> xattrs);
  Result<> emit_tail(Output& output, uint32_t index);
  Result<> emit_blocks(Output& output, uint32_t index);
  Result<> emit_group(Output& output, std::span<const Entry> group);

  bool is_stub(const Slot& slot) const { return slot.node == &stub(); }
  const tree::Node& stub() const { return *stub_; }

  Result<std::span<const ImageXattr>> xattrs_of(const Slot& slot) {
    if (is_stub(slot)) return std::span<const ImageXattr>(stub_xattrs_);
    return maker_.make(*slot.node, {.is_root = slot.node == &tree_.root(),
                                    .holds_whiteout = slot.holds_whiteout,
                                    .marks_opaque = version_ >= 1});
  }
  uint64_t xattr_bytes(std::span<const ImageXattr> xattrs);
  std::span<const Entry> entries_of(uint32_t directory);
  uint64_t directory_size(const Slot& slot) const {
    return uint64_t{slot.blocks} * kBlockSize + slot.tail_bytes;
  }
  uint32_t nlink_of(const tree::Node& node) const;
  bool is_compact(const Slot& slot, uint64_t size_field, uint32_t nlink) const;
  uint64_t size_field_of(const Slot& slot) const;
  static bool is_spilled(const Slot& slot) {
    return slot.node->is_external() && slot.tail_bytes == 0;
  }

  const tree::Tree& tree_;
  VersionRange versions_;
  unsigned version_ = 0;
  std::vector<Slot> slots_;
  std::unordered_map<const tree::Node*, uint32_t> linked_inodes_;
  tree::Timestamp build_time_;
  tree::Tree stub_tree_;
  const tree::Node* stub_ = nullptr;
  std::vector<ImageXattr> stub_xattrs_;
  XattrMaker maker_;
  SharedXattrTable shared_;
  bool has_acl_ = false;
  uint64_t xattr_table_offset_ = 0;
  uint64_t data_offset_ = 0;
  std::vector<Entry> entries_;
};

Result<> Writer::choose_version() {
  if (versions_.min > 1 || versions_.max > 1) {
    return make_error(ErrorCode::kUnsupported, "composefs versions are 0 and 1");
  }
  unsigned max = std::max(versions_.min, versions_.max);
  version_ = versions_.min;
  if (version_ >= max) return {};
  return tree_.for_each([&](const tree::Node& node) -> Result<> {
    if (!node.is_link() && node.is_whiteout()) version_ = max;
    return {};
  });
}

// Pass 1.

Result<> Writer::number() {
  const tree::Node& root = tree_.root();
  tree::Attributes attributes = root.attributes;
  attributes.mode = kStubMode;
  attributes.nlink = 1;
  stub_ = CFS_TRY(stub_tree_.add(stub_tree_.root(), "stub", attributes));
  if (const tree::Xattr* label = root.xattr("security.selinux")) {
    stub_xattrs_.push_back({label->key, label->value});
  }

  build_time_ = root.attributes.mtime;
  slots_.push_back({.node = &root});
  for (uint32_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].node->is_directory()) CFS_TRY(add_children(i));
  }
  return {};
}

Result<> Writer::add_children(uint32_t directory) {
  if (slots_.size() > UINT32_MAX - 512) {
    return make_error(ErrorCode::kInvalidInput, "the tree has too many entries");
  }
  slots_[directory].first_child = static_cast<uint32_t>(slots_.size());
  const std::array<std::string, 256>& names = stub_names();
  const bool is_root = directory == 0;
  size_t next_stub = is_root ? 0 : names.size();
  auto add_stubs_before = [&](std::string_view name) {
    while (next_stub < names.size() && names[next_stub] < name) {
      slots_.push_back({.node = stub_, .parent = directory});
      ++next_stub;
    }
  };
  for (const tree::Node* child : slots_[directory].node->children()) {
    if (is_root) {
      add_stubs_before(child->name());
      if (next_stub < names.size() && names[next_stub] == child->name()) ++next_stub;
    }
    if (child->is_link()) continue;
    if (child->has_links()) linked_inodes_[child] = static_cast<uint32_t>(slots_.size());
    build_time_ = std::min(build_time_, child->attributes.mtime);
    if (child->is_whiteout()) slots_[directory].holds_whiteout = true;
    slots_.push_back({.node = child, .parent = directory});
  }
  if (is_root) add_stubs_before("fg");  // behind "ff"
  return {};
}

// Pass 2.

Result<> Writer::count() {
  for (const Slot& slot : slots_) {
    std::span<const ImageXattr> xattrs = CFS_TRY(xattrs_of(slot));
    shared_.count(xattrs, *slot.node);
    for (const ImageXattr& xattr : xattrs) {
      has_acl_ = has_acl_ || xattr.key == "system.posix_acl_access" ||
                 xattr.key == "system.posix_acl_default";
    }
  }
  shared_.finish();
  return {};
}

// Pass 3.

uint64_t Writer::xattr_bytes(std::span<const ImageXattr> xattrs) {
  if (xattrs.empty()) return 0;
  uint64_t size = sizeof(XattrHeader);
  size_t shared_count = 0;
  for (const ImageXattr& xattr : xattrs) {
    if (shared_count < kMaxSharedXattrs && shared_.offset_of(xattr) >= 0) {
      ++shared_count;
      size += 4;
    } else {
      size += xattr_entry_size(xattr);
    }
  }
  return size;
}

uint32_t Writer::nlink_of(const tree::Node& node) const {
  if (!node.is_directory()) return node.attributes.nlink;
  uint32_t count = 2;
  for (const tree::Node* child : node.children()) {
    if (!child->is_link() && child->is_directory()) ++count;
  }
  return count;
}

uint64_t Writer::size_field_of(const Slot& slot) const {
  const tree::Node& node = *slot.node;
  if (node.is_directory()) return directory_size(slot);
  if (node.is_symlink()) return node.symlink_target().size();
  return node.is_whiteout() ? 0 : node.size_bytes;
}

bool Writer::is_compact(const Slot& slot, uint64_t size_field, uint32_t nlink) const {
  const tree::Attributes& attributes = slot.node->attributes;
  return attributes.mtime == build_time_ && nlink <= UINT16_MAX && attributes.uid <= UINT16_MAX &&
         attributes.gid <= UINT16_MAX && size_field <= UINT32_MAX;
}

std::span<const Entry> Writer::entries_of(uint32_t directory) {
  const Slot& slot = slots_[directory];
  entries_.clear();
  uint32_t next_inode = slot.first_child;
  std::array<Entry, 2> dots = {
      {{".", directory, FileType::kDirectory}, {"..", slot.parent, FileType::kDirectory}}};
  size_t next_dot = 0;
  auto add = [&](const Entry& entry) {
    while (next_dot < dots.size() && dots[next_dot].name < entry.name) {
      entries_.push_back(dots[next_dot++]);
    }
    entries_.push_back(entry);
  };
  std::span<tree::Node* const> children = slot.node->children();
  size_t next_child = 0;
  size_t next_stub = directory == 0 ? 0 : stub_names().size();
  for (;;) {
    const tree::Node* child = next_child < children.size() ? children[next_child] : nullptr;
    const std::string* stub = next_stub < stub_names().size() ? &stub_names()[next_stub] : nullptr;
    if (child == nullptr && stub == nullptr) break;
    if (child == nullptr || (stub != nullptr && *stub < child->name())) {
      add({*stub, next_inode++, FileType::kCharDevice});
      ++next_stub;
      continue;
    }
    if (stub != nullptr && *stub == child->name()) ++next_stub;
    uint32_t inode = child->is_link() ? linked_inodes_.at(&child->inode()) : next_inode++;
    add({child->name(), inode, file_type_of(child->inode())});
    ++next_child;
  }
  entries_.insert(entries_.end(), dots.begin() + static_cast<std::ptrdiff_t>(next_dot), dots.end());
  return entries_;
}

uint64_t entry_cost(const Entry& entry) { return sizeof(DirectoryEntry) + entry.name.size(); }

/// The entries at the front of `rest` that share one block: as many as fit.
std::span<const Entry> first_group(std::span<const Entry> rest) {
  uint64_t size = 0;
  size_t count = 0;
  while (count < rest.size() && size + entry_cost(rest[count]) <= kBlockSize) {
    size += entry_cost(rest[count++]);
  }
  return rest.first(count);
}

uint64_t group_bytes(std::span<const Entry> group) {
  uint64_t size = 0;
  for (const Entry& entry : group) size += entry_cost(entry);
  return size;
}

Result<> Writer::place_one(Slot& slot, uint64_t& position) {
  const tree::Node& node = *slot.node;
  uint64_t tail = 0;
  if (node.is_directory()) {
    std::span<const Entry> rest = entries_of(static_cast<uint32_t>(&slot - slots_.data()));
    for (;;) {
      std::span<const Entry> group = first_group(rest);
      rest = rest.subspan(group.size());
      if (rest.empty()) {
        tail = group_bytes(group);
        break;
      }
      ++slot.blocks;
    }
    if (tail > kMaxInlineTailBytes) {
      ++slot.blocks;
      tail = 0;
    }
  } else if (node.is_symlink()) {
    if (node.symlink_target().empty()) {
      return make_error(ErrorCode::kInvalidInput, "'" + node.path() + "': symlink without target");
    }
    tail = node.symlink_target().size();
  } else if (node.is_external()) {
    Chunks chunks = chunks_of(node.size_bytes);
    if (chunks.count > kMaxChunks) {
      return make_error(ErrorCode::kInvalidInput, "'" + node.path() + "': larger than 2^53 bytes");
    }
    tail = 4 * chunks.count;
  } else if (!node.content().empty()) {
    slot.blocks = static_cast<uint32_t>(node.content().size() / kBlockSize);
    tail = node.content().size() % kBlockSize;
    if (tail > kMaxInlineTailBytes) {
      ++slot.blocks;
      tail = 0;
    }
  }
  slot.tail_bytes = static_cast<uint16_t>(tail);

  uint64_t size_field = size_field_of(slot);
  bool compact = is_compact(slot, size_field, nlink_of(node));
  uint64_t xattrs = xattr_bytes(CFS_TRY(xattrs_of(slot)));
  if (xattrs > 0 && (xattrs - sizeof(XattrHeader)) / 4 + 1 > kMaxXattrCount) {
    return make_error(ErrorCode::kInvalidInput,
                      "'" + node.path() + "': the extended attributes are too large");
  }
  uint64_t head = (compact ? sizeof(CompactInode) : sizeof(ExtendedInode)) + xattrs;

  position = align_up(position, kInodeAlignment);
  if (node.is_symlink()) {
    uint64_t total = head + tail;
    bool straddles = position / kBlockSize != (position + total - 1) / kBlockSize;
    if (total >= kBlockSize) {
      slot.blocks = 1;
      tail = 0;
    }
    if (straddles) position = align_up(position, kBlockSize);
  } else if (tail > 0) {
    uint64_t room = kBlockSize - (position + head) % kBlockSize;
    if (room < tail) {
      uint64_t padding = align_up(room, kInodeAlignment);
      if (tail <= kBlockSize - (position + head + padding) % kBlockSize) {
        position += padding;
      } else {
        ++slot.blocks;
        tail = 0;
        position = align_up(position, kBlockSize);
      }
    }
  }
  slot.tail_bytes = static_cast<uint16_t>(tail);
  if (position / kInodeAlignment > UINT32_MAX) {
    return make_error(ErrorCode::kInvalidInput, "the image would be larger than 128 GiB");
  }
  slot.nid = static_cast<uint32_t>(position / kInodeAlignment);
  position += head + tail;
  return {};
}

Result<> Writer::place() {
  uint64_t position = kFirstInodeOffset;
  for (Slot& slot : slots_) CFS_TRY(place_one(slot, position));
  xattr_table_offset_ = align_up(position, kInodeAlignment);
  data_offset_ = align_up(xattr_table_offset_ + shared_.size_bytes(), kBlockSize);
  return {};
}

// Pass 4.

Result<> Writer::emit(Output& output) {
  uint64_t block_count = data_offset_ / kBlockSize;
  for (const Slot& slot : slots_) block_count += slot.blocks;
  if (block_count > UINT32_MAX) {
    return make_error(ErrorCode::kInvalidInput, "the image would be larger than 16 TiB");
  }
  CFS_TRY(emit_header(output, block_count));
  uint64_t next_block = data_offset_ / kBlockSize;
  for (uint32_t i = 0; i < slots_.size(); ++i) {
    CFS_TRY(output.pad_to(slots_[i].nid * kInodeAlignment));
    CFS_TRY(emit_inode(output, i, next_block));
    next_block += slots_[i].blocks;
  }
  CFS_TRY(output.pad_to(xattr_table_offset_));
  for (const ImageXattr& xattr : shared_.entries()) CFS_TRY(emit_xattrs(output, {&xattr, 1}));
  CFS_TRY(output.pad_to(data_offset_));
  for (uint32_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].blocks > 0) CFS_TRY(emit_blocks(output, i));
  }
  CFS_CHECK(output.offset() == block_count * kBlockSize);
  return output.flush();
}

Result<> Writer::emit_header(Output& output, uint64_t block_count) {
  ComposefsHeader header;
  header.magic = kComposefsMagic;
  header.version = kHeaderVersion;
  header.flags = has_acl_ ? kHeaderHasAcl : 0;
  header.composefs_version = version_;
  CFS_TRY(output.append_struct(header));
  CFS_TRY(output.pad_to(kSuperBlockOffset));
  SuperBlock super = {};
  super.magic = kErofsMagic;
  super.feature_compat = kFeatureCompat;
  super.block_size_bits = 12;
  super.root_nid = static_cast<uint16_t>(slots_[0].nid);
  super.inode_count = slots_.size();
  super.build_time_seconds = static_cast<uint64_t>(build_time_.seconds);
  super.build_time_nanoseconds = build_time_.nanoseconds;
  super.block_count = static_cast<uint32_t>(block_count);
  super.xattr_block = static_cast<uint32_t>(xattr_table_offset_ / kBlockSize);
  return output.append_struct(super);
}

Result<> Writer::emit_inode(Output& output, uint32_t index, uint64_t first_block) {
  const Slot& slot = slots_[index];
  const tree::Node& node = *slot.node;
  std::span<const ImageXattr> xattrs = CFS_TRY(xattrs_of(slot));
  uint64_t xattr_size = xattr_bytes(xattrs);
  uint32_t nlink = nlink_of(node);
  uint64_t size_field = size_field_of(slot);
  bool compact = is_compact(slot, size_field, nlink);
  bool has_size = node.is_directory() || node.is_symlink() || node.is_regular();
  uint64_t size = has_size ? size_field : 0;

  InodeLayout layout = InodeLayout::kFlatPlain;
  if (node.is_external()) {
    layout = InodeLayout::kChunkBased;
  } else if (slot.tail_bytes > 0) {
    layout = InodeLayout::kFlatInline;
  }

  auto block = static_cast<uint32_t>(first_block);
  uint32_t u = 0;
  if (node.is_device() && !(node.is_whiteout() && !is_stub(slot))) {
    u = node.rdev;
  } else if (node.is_external()) {
    u = chunks_of(node.size_bytes).bits - kMinChunkBits;
    // A chunk array that had to leave its inode: kernels cannot read such a file, but the
    // reference writes it, with half of the block address left over (COMPOSEFS-FORMAT.md §11).
    if (is_spilled(slot)) u |= block & 0xffff0000U;
  } else if (slot.blocks > 0) {
    u = block;
  }

  auto format = static_cast<uint16_t>(static_cast<unsigned>(layout) << 1 | (compact ? 0U : 1U));
  auto xattr_count =
      static_cast<uint16_t>(xattr_size == 0 ? 0 : (xattr_size - sizeof(XattrHeader)) / 4 + 1);
  uint32_t mode = node.attributes.mode;
  if (node.is_whiteout() && !is_stub(slot)) mode = S_IFREG | (mode & ~uint32_t{S_IFMT});

  if (compact) {
    CompactInode inode = {};
    inode.format = format;
    inode.xattr_count = xattr_count;
    inode.mode = static_cast<uint16_t>(mode);
    inode.nlink = static_cast<uint16_t>(nlink);
    inode.size = static_cast<uint32_t>(size);
    inode.u = u;
    inode.ino = index;
    inode.uid = static_cast<uint16_t>(node.attributes.uid);
    inode.gid = static_cast<uint16_t>(node.attributes.gid);
    CFS_TRY(output.append_struct(inode));
  } else {
    ExtendedInode inode = {};
    inode.format = format;
    inode.xattr_count = xattr_count;
    inode.mode = static_cast<uint16_t>(mode);
    inode.size = size;
    inode.u = u;
    inode.ino = index;
    inode.uid = node.attributes.uid;
    inode.gid = node.attributes.gid;
    inode.mtime_seconds = static_cast<uint64_t>(node.attributes.mtime.seconds);
    inode.mtime_nanoseconds = node.attributes.mtime.nanoseconds;
    inode.nlink = nlink;
    CFS_TRY(output.append_struct(inode));
  }

  if (!xattrs.empty()) {
    XattrHeader header = {};
    uint32_t filter = UINT32_MAX;
    std::vector<le32> ids;
    std::vector<ImageXattr> inline_xattrs;
    for (const ImageXattr& xattr : xattrs) {
      filter &= ~xattr_filter_bit(xattr);
      int64_t offset = ids.size() < kMaxSharedXattrs ? shared_.offset_of(xattr) : -1;
      if (offset >= 0) {
        uint64_t start = xattr_table_offset_ % kBlockSize;
        ids.emplace_back(static_cast<uint32_t>((start + static_cast<uint64_t>(offset)) / 4));
      } else {
        inline_xattrs.push_back(xattr);
      }
    }
    header.name_filter = filter;
    header.shared_count = static_cast<uint8_t>(ids.size());
    CFS_TRY(output.append_struct(header));
    CFS_TRY(output.append(std::as_bytes(std::span(ids))));
    CFS_TRY(emit_xattrs(output, inline_xattrs));
  }
  return slot.tail_bytes > 0 ? emit_tail(output, index) : Result<>();
}

Result<> Writer::emit_xattrs(Output& output, std::span<const ImageXattr> xattrs) {
  for (const ImageXattr& xattr : xattrs) {
    XattrName name = split_xattr_key(xattr.key);
    XattrEntry entry = {};
    entry.name_size = static_cast<uint8_t>(name.suffix.size());
    entry.name_index = name.index;
    entry.value_size = static_cast<uint16_t>(xattr.value.size());
    CFS_TRY(output.append_struct(entry));
    CFS_TRY(output.append_text(name.suffix));
    CFS_TRY(output.append_text(xattr.value));
    CFS_TRY(output.pad_to(align_up(output.offset(), 4)));
  }
  return {};
}

Result<> Writer::emit_group(Output& output, std::span<const Entry> group) {
  uint64_t name_offset = group.size() * sizeof(DirectoryEntry);
  for (const Entry& entry : group) {
    DirectoryEntry dirent = {};
    dirent.nid = slots_[entry.inode].nid;
    dirent.name_offset = static_cast<uint16_t>(name_offset);
    dirent.file_type = static_cast<uint8_t>(entry.type);
    CFS_TRY(output.append_struct(dirent));
    name_offset += entry.name.size();
  }
  for (const Entry& entry : group) CFS_TRY(output.append_text(entry.name));
  return {};
}

Result<> Writer::emit_tail(Output& output, uint32_t index) {
  const Slot& slot = slots_[index];
  const tree::Node& node = *slot.node;
  if (node.is_directory()) {
    std::span<const Entry> rest = entries_of(index);
    for (uint32_t i = 0; i < slot.blocks; ++i) rest = rest.subspan(first_group(rest).size());
    return emit_group(output, rest);
  }
  if (node.is_symlink()) return output.append_text(node.symlink_target());
  if (node.is_external()) return output.fill(slot.tail_bytes, std::byte{0xff});
  return output.append_text(node.content().substr(node.content().size() - slot.tail_bytes));
}

Result<> Writer::emit_blocks(Output& output, uint32_t index) {
  const Slot& slot = slots_[index];
  const tree::Node& node = *slot.node;
  uint64_t end = output.offset() + slot.blocks * kBlockSize;
  if (node.is_directory()) {
    std::span<const Entry> rest = entries_of(index);
    for (uint32_t i = 0; i < slot.blocks; ++i) {
      std::span<const Entry> group = first_group(rest);
      rest = rest.subspan(group.size());
      CFS_TRY(emit_group(output, group));
      CFS_TRY(output.pad_to(align_up(output.offset(), kBlockSize)));
    }
  } else if (node.is_symlink()) {
    CFS_TRY(output.append_text(node.symlink_target()));
  } else if (node.is_external()) {
    CFS_TRY(output.fill(kBlockSize, std::byte{0xff}));
  } else {
    CFS_TRY(output.append_text(node.content().substr(0, slot.blocks * kBlockSize)));
  }
  return output.pad_to(end);
}

}  // namespace

Result<ImageInfo> write_image(const tree::Tree& tree, const VersionRange& versions,
                              const ByteSink& sink) {
  return Writer(tree, versions).write(sink);
}

Result<ImageInfo> write_image(const tree::Tree& tree, const VersionRange& versions, int fd) {
  return write_image(tree, versions, [fd](Bytes bytes) -> Result<> {
    return fd >= 0 ? write_full(fd, bytes) : Result<>();
  });
}

}  // namespace cfs::erofs
