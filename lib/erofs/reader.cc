// SPDX-License-Identifier: Apache-2.0
// The reader walks the image breadth-first, as the writer numbered it, and trusts nothing in it.
//
// Bounded work. An image could name one stretch of bytes as the content of many inodes and so make
// a small file cost much. Here every inode *claims* its own bytes (header, xattrs, tail, blocks)
// and the claims together may not exceed the image; images of our writer claim each byte once.
//
// Hard links. Several names can have one inode; the primary name is the one whose place in
// breadth-first order is the inode number. Names that come before it wait until the end. So an
// image is read into the tree that it was written from, whichever name was the primary.
//
// Whiteouts. The writer makes a whiteout an empty file with marks, and marks the directory that
// holds it. A file that came with the marks of its own, in a directory without them, stays a file.
// So a name of a whiteout in another directory looks like such a file, and where no inode lies
// between it and the primary name, the inode number does not tell either. If such a file turns up
// in a marked directory later, the image is read once more with that known.
#include "lib/erofs/reader.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <unordered_map>
#include <unordered_set>

#include "lib/base/io.h"
#include "lib/erofs/format.h"
#include "lib/erofs/xattr_table.h"

namespace cfs::erofs {
namespace {

constexpr unsigned kMaxComposefsVersion =
    2;  // composefs-rs; differs only in what its writer chooses
constexpr unsigned kMaxVersionWithMarks = 1;

bool has_value(const tree::Node& node, std::string_view key, std::string_view value) {
  const tree::Xattr* xattr = node.xattr(key);
  return xattr != nullptr && xattr->value == value;
}

Error corrupt(uint64_t offset, const std::string& what) {
  return make_error(ErrorCode::kCorrupt,
                    "corrupt image: " + what + " (offset " + std::to_string(offset) + ")");
}

/// An inode's numbers, whichever form they were stored in.
struct Inode {
  uint64_t offset = 0;  ///< in the image
  InodeLayout layout = InodeLayout::kFlatPlain;
  tree::Attributes attributes;
  uint64_t size = 0;
  uint32_t u = 0;
  uint32_t ino = 0;
  uint64_t xattr_offset = 0;
  uint64_t xattr_size = 0;
  bool is_extended = false;
  bool fits_compact = false;  ///< as far as owner, links and time go
  [[nodiscard]] uint64_t tail_offset() const { return xattr_offset + xattr_size; }
};

class Reader {
 public:
  using InodeNumbers = std::unordered_set<uint64_t>;  // "nid"

  /// `whiteouts`: files with marks whose primary name is in a marked directory.
  Reader(Bytes image, InodeNumbers whiteouts) : image_(image), whiteouts_(std::move(whiteouts)) {}

  Result<Image> read();
  /// After read(): files with marks that were taken for files, and have a name in a marked
  /// directory as well.
  [[nodiscard]] const InodeNumbers& possible_whiteouts() const { return possible_whiteouts_; }
  /// After read(): has every file a name that stands where its inode number says?
  [[nodiscard]] bool is_in_order() const { return in_order_; }

 private:
  struct PendingName {
    tree::Node* parent;
    std::string name;
    uint64_t nid;
    FileType type;
  };
  struct PendingDirectory {
    tree::Node* node;
    uint64_t nid;
    uint64_t parent_nid;
    Inode inode;
  };
  struct XattrList {
    std::vector<std::pair<std::string, std::string_view>> items;
    size_t shared_count = 0;  ///< so many of the first items lie in the shared table
    [[nodiscard]] const std::string_view* find(std::string_view key) const {
      for (const auto& [name, value] : items) {
        if (name == key) return &value;
      }
      return nullptr;
    }
    /// Both marks: a file that came with one of them is none.
    [[nodiscard]] bool marks_whiteout() const {
      return std::all_of(std::begin(kWhiteoutMarks), std::end(kWhiteoutMarks),
                         [&](std::string_view mark) {
                           const std::string_view* value = find(mark);
                           return value != nullptr && value->empty();
                         });
    }
  };

  template <typename Struct>
  Result<Struct> load(uint64_t offset) const {
    if (offset > image_.size() || image_.size() - offset < sizeof(Struct)) {
      return corrupt(offset, "points outside the image");
    }
    Struct value;
    std::memcpy(static_cast<void*>(&value), image_.data() + offset, sizeof(Struct));
    return value;
  }
  Result<std::string_view> text_at(uint64_t offset, uint64_t size) const {
    if (offset > image_.size() || image_.size() - offset < size) {
      return corrupt(offset, "points outside the image");
    }
    return as_text(image_.subspan(offset, size));
  }
  Result<> claim(uint64_t offset, uint64_t size) {
    if (size > image_.size() - claimed_) {
      return corrupt(offset, "more data is referred to than the image has");
    }
    claimed_ += size;
    return {};
  }
  /// What the tree refuses is a corrupt image.
  template <typename T>
  Result<T> from_tree(uint64_t offset, Result<T> result) const {
    if (result) return result;
    return corrupt(offset, result.error().message);
  }

  Result<> read_header();
  Result<Inode> read_inode(uint64_t nid);
  Result<XattrList> read_xattrs(const Inode& inode);
  Result<> read_xattr_entry(uint64_t offset, uint64_t end, XattrList& list, uint64_t& entry_size);
  Result<std::vector<std::string_view>> read_flat(const Inode& inode);
  Result<> read_directory(const PendingDirectory& directory);
  Result<> read_group(const PendingDirectory& directory, std::string_view group,
                      std::string& last_name, int& dots);
  Result<> read_entry(const PendingDirectory& directory, std::string_view name, uint64_t nid,
                      FileType type);
  Result<> add_inode(tree::Node& parent, std::string_view name, uint64_t nid, uint64_t parent_nid,
                     const Inode& inode, FileType type);
  Result<> fill(tree::Node& node, const Inode& inode);
  Result<> fill_external(tree::Node& node, const Inode& inode, const XattrList& xattrs);
  Result<> set_xattrs(tree::Node& node, const Inode& inode, const XattrList& xattrs);
  Result<> resolve_pending();
  void remove_directory_marks();
  [[nodiscard]] bool is_marked(const tree::Node& directory) const;

  Bytes image_;
  InodeNumbers whiteouts_;
  InodeNumbers possible_whiteouts_;
  std::unordered_set<const tree::Node*> files_with_marks_;  // that are not whiteouts
  bool in_order_ = true;
  uint64_t claimed_ = 0;
  SuperBlock super_;
  Image result_;
  uint32_t next_ino_ = 0;
  std::unordered_map<uint64_t, tree::Node*> nodes_;  // nid → the node of its primary name
  std::unordered_set<uint64_t> shared_entries_;      // offsets of those claimed
  std::vector<PendingName> pending_;
  std::deque<PendingDirectory> directories_;
};

Result<> Reader::read_header() {
  if (image_.size() < kFirstInodeOffset) {
    return make_error(ErrorCode::kUnsupported, "not a composefs image: too small");
  }
  ComposefsHeader header = CFS_TRY(load<ComposefsHeader>(0));
  if (header.magic != kComposefsMagic) {
    return make_error(ErrorCode::kUnsupported, "not a composefs image: wrong magic number");
  }
  if (header.version != kHeaderVersion || header.composefs_version > kMaxComposefsVersion) {
    return make_error(ErrorCode::kUnsupported, "composefs image of an unknown version (" +
                                                   std::to_string(header.version) + "." +
                                                   std::to_string(header.composefs_version) + ")");
  }
  result_.version = header.composefs_version;
  super_ = CFS_TRY(load<SuperBlock>(kSuperBlockOffset));
  if (super_.magic != kErofsMagic) return corrupt(kSuperBlockOffset, "no EROFS superblock");
  if (super_.block_size_bits != 12 || super_.metadata_block != 0) {
    return corrupt(kSuperBlockOffset, "not the block size or layout of a composefs image");
  }
  if (super_.feature_incompat != 0) {
    return make_error(ErrorCode::kUnsupported, "the image uses unknown EROFS features");
  }
  if (super_.block_count * kBlockSize > image_.size()) {
    return corrupt(kSuperBlockOffset, "the image is truncated");
  }
  return {};
}

Result<Inode> Reader::read_inode(uint64_t nid) {
  if (nid > image_.size() / kInodeAlignment) return corrupt(nid, "inode outside the image");
  Inode inode;
  inode.offset = nid * kInodeAlignment;
  CompactInode compact = CFS_TRY(load<CompactInode>(inode.offset));
  uint64_t head = sizeof(CompactInode);
  unsigned layout = compact.format >> 1;
  if (layout != 0 && layout != 2 && layout != 4) {
    return corrupt(inode.offset, "inode with an unknown layout");
  }
  inode.layout = static_cast<InodeLayout>(layout);
  inode.attributes.mode = compact.mode;
  inode.u = compact.u;
  inode.ino = compact.ino;
  if ((compact.format & 1U) == 0) {
    inode.attributes.nlink = compact.nlink;
    inode.attributes.uid = compact.uid;
    inode.attributes.gid = compact.gid;
    inode.attributes.mtime = {static_cast<int64_t>(uint64_t{super_.build_time_seconds}),
                              super_.build_time_nanoseconds};
    inode.size = compact.size;
  } else {
    ExtendedInode extended = CFS_TRY(load<ExtendedInode>(inode.offset));
    head = sizeof(ExtendedInode);
    inode.attributes.nlink = extended.nlink;
    inode.attributes.uid = extended.uid;
    inode.attributes.gid = extended.gid;
    inode.attributes.mtime = {static_cast<int64_t>(uint64_t{extended.mtime_seconds}),
                              extended.mtime_nanoseconds};
    inode.size = extended.size;
  }
  tree::Timestamp build_time = {static_cast<int64_t>(uint64_t{super_.build_time_seconds}),
                                super_.build_time_nanoseconds};
  inode.is_extended = (compact.format & 1U) != 0;
  inode.fits_compact =
      inode.attributes.mtime == build_time &&
      std::max({inode.attributes.nlink, inode.attributes.uid, inode.attributes.gid}) <= UINT16_MAX;
  if (inode.attributes.mtime.nanoseconds >= 1'000'000'000) {
    return corrupt(inode.offset, "inode with more than 999999999 nanoseconds");
  }
  inode.xattr_offset = inode.offset + head;
  uint64_t count = compact.xattr_count;
  inode.xattr_size = count == 0 ? 0 : sizeof(XattrHeader) + 4 * (count - 1);
  if (inode.tail_offset() > image_.size()) return corrupt(inode.offset, "inode outside the image");
  CFS_TRY(claim(inode.offset, head + inode.xattr_size));
  return inode;
}

Result<> Reader::read_xattr_entry(uint64_t offset, uint64_t end, XattrList& list,
                                  uint64_t& entry_size) {
  XattrEntry entry = CFS_TRY(load<XattrEntry>(offset));
  std::optional<std::string_view> prefix = xattr_prefix(entry.name_index);
  if (!prefix) return corrupt(offset, "xattr with unknown prefix");
  uint64_t name_offset = offset + sizeof(entry);
  uint64_t value_offset = name_offset + entry.name_size;
  entry_size = align_up(sizeof(entry) + entry.name_size + entry.value_size, 4);
  if (offset + entry_size > end) return corrupt(offset, "xattr is cut off");
  std::string key(*prefix);
  key += CFS_TRY(text_at(name_offset, entry.name_size));
  list.items.emplace_back(std::move(key), CFS_TRY(text_at(value_offset, entry.value_size)));
  return {};
}

Result<Reader::XattrList> Reader::read_xattrs(const Inode& inode) {
  XattrList list;
  if (inode.xattr_size == 0) return list;
  uint64_t end = inode.tail_offset();
  XattrHeader header = CFS_TRY(load<XattrHeader>(inode.xattr_offset));
  uint64_t offset = inode.xattr_offset + sizeof(header);
  if (offset + 4ULL * header.shared_count > end) {
    return corrupt(offset, "more shared xattrs than there is room for");
  }
  uint64_t entry_size = 0;
  for (unsigned i = 0; i < header.shared_count; ++i, offset += 4) {
    le32 id = CFS_TRY(load<le32>(offset));
    uint64_t entry_offset = super_.xattr_block * kBlockSize + 4ULL * id;
    CFS_TRY(read_xattr_entry(entry_offset, image_.size(), list, entry_size));
    if (shared_entries_.insert(entry_offset).second) CFS_TRY(claim(entry_offset, entry_size));
  }
  list.shared_count = list.items.size();
  while (offset < end) {
    CFS_TRY(read_xattr_entry(offset, end, list, entry_size));
    offset += entry_size;
  }
  return list;
}

/// The pieces of a flat file in order: its whole blocks, then its inline tail.
Result<std::vector<std::string_view>> Reader::read_flat(const Inode& inode) {
  std::vector<std::string_view> pieces;
  uint64_t block_count = inode.layout == InodeLayout::kFlatInline
                             ? inode.size / kBlockSize
                             : inode.size / kBlockSize + (inode.size % kBlockSize != 0 ? 1 : 0);
  if (block_count > image_.size() / kBlockSize) {
    return corrupt(inode.offset, "file is larger than the image");
  }
  if (block_count > 0) {
    CFS_TRY(claim(inode.offset, block_count * kBlockSize));
    uint64_t size = std::min(inode.size, block_count * kBlockSize);
    pieces.push_back(CFS_TRY(text_at(inode.u * kBlockSize, size)));
  }
  if (inode.layout == InodeLayout::kFlatInline) {
    uint64_t size = inode.size % kBlockSize;
    uint64_t offset = inode.tail_offset();
    if (offset % kBlockSize + size > kBlockSize) {
      return corrupt(inode.offset, "inline data crosses a block boundary");
    }
    CFS_TRY(claim(inode.offset, size));
    if (size > 0) pieces.push_back(CFS_TRY(text_at(offset, size)));
  }
  return pieces;
}

Result<> Reader::read_directory(const PendingDirectory& directory) {
  const Inode& inode = directory.inode;
  if (inode.layout == InodeLayout::kChunkBased) {
    return corrupt(inode.offset, "directory with a file's layout");
  }
  std::string last_name;
  int dots = 0;
  std::vector<std::string_view> pieces = CFS_TRY(read_flat(inode));
  for (std::string_view piece : pieces) {
    while (!piece.empty()) {
      std::string_view group = piece.substr(0, kBlockSize);
      CFS_TRY(read_group(directory, group, last_name, dots));
      piece.remove_prefix(group.size());
    }
  }
  if (dots != 2) return corrupt(inode.offset, "directory without '.' and '..'");
  return {};
}

/// Takes the writer's marks from the directories that hold a whiteout.
void Reader::remove_directory_marks() {
  for (const auto& [nid, node] : nodes_) {
    bool holds_whiteout =
        node->is_directory() &&
        std::any_of(node->children().begin(), node->children().end(), [](const tree::Node* child) {
          return !child->is_link() && child->is_whiteout();
        });
    if (!holds_whiteout) continue;
    for (std::string_view mark : kDirectoryMarks) result_.tree.remove_xattr(*node, mark);
  }
}

Result<> Reader::read_group(const PendingDirectory& directory, std::string_view group,
                            std::string& last_name, int& dots) {
  uint64_t group_offset = static_cast<uint64_t>(as_bytes(group).data() - image_.data());
  auto entry_at = [&](uint64_t index) {
    return load<DirectoryEntry>(group_offset + index * sizeof(DirectoryEntry));
  };
  if (group.size() < sizeof(DirectoryEntry)) return corrupt(group_offset, "directory is cut off");
  DirectoryEntry entry = CFS_TRY(entry_at(0));
  uint64_t count = entry.name_offset / sizeof(DirectoryEntry);
  if (count == 0 || entry.name_offset % sizeof(DirectoryEntry) != 0 ||
      entry.name_offset > group.size()) {
    return corrupt(group_offset, "directory block with a wrong number of entries");
  }
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t name_end = group.size();
    DirectoryEntry next = {};
    if (i + 1 < count) {
      next = CFS_TRY(entry_at(i + 1));
      name_end = next.name_offset;
    }
    if (entry.name_offset >= name_end || name_end > group.size()) {
      return corrupt(group_offset, "directory entry with a name outside its block");
    }
    std::string_view name = group.substr(entry.name_offset, name_end - entry.name_offset);
    if (i + 1 == count) name = name.substr(0, name.find('\0'));
    if (!last_name.empty() && name <= last_name) {
      return corrupt(group_offset, "directory entries are not sorted");
    }
    last_name = name;
    if (name == "." || name == "..") {
      if (entry.nid != (name == "." ? directory.nid : directory.parent_nid)) {
        return corrupt(group_offset, "'.' or '..' points elsewhere");
      }
      ++dots;
    } else {
      CFS_TRY(read_entry(directory, name, entry.nid, static_cast<FileType>(entry.file_type)));
    }
    entry = next;
  }
  return {};
}

/// One of the 256 entries that hide an object store in the root. Spec: COMPOSEFS-FORMAT.md §5.7.
bool is_stub_name(std::string_view name) {
  auto is_lower_hex = [](char c) { return hex_digit(c) >= 0 && !(c >= 'A' && c <= 'F'); };
  return name.size() == 2 && is_lower_hex(name[0]) && is_lower_hex(name[1]);
}

Result<> Reader::read_entry(const PendingDirectory& directory, std::string_view name, uint64_t nid,
                            FileType type) {
  if (auto seen = nodes_.find(nid); seen != nodes_.end()) {
    if (seen->second->is_directory())
      return corrupt(directory.inode.offset, "directory with two names");
    if (files_with_marks_.contains(seen->second) && is_marked(*directory.node)) {
      possible_whiteouts_.insert(nid);
    }
    pending_.push_back({directory.node, std::string(name), nid, type});
    return {};
  }
  uint64_t claimed_before = claimed_;
  Inode inode = CFS_TRY(read_inode(nid));
  if (!tree::is_valid_mode(inode.attributes.mode) ||
      file_type_of_mode(inode.attributes.mode) != type) {
    return corrupt(inode.offset, "inode without a valid file type");
  }
  if (result_.version < 2 && S_ISCHR(inode.attributes.mode) && inode.u == 0) {
    if (directory.node->parent() != nullptr || !is_stub_name(name)) {
      return corrupt(inode.offset, "whiteout outside the root directory");
    }
    if (inode.ino == next_ino_) ++next_ino_;
    return {};
  }
  bool is_other_name = whiteouts_.contains(nid) && !is_marked(*directory.node);
  bool is_primary = inode.ino == next_ino_ && !is_other_name;
  if (!is_primary && !S_ISDIR(inode.attributes.mode)) {
    claimed_ = claimed_before;  // claimed when its turn comes
    pending_.push_back({directory.node, std::string(name), nid, type});
    return {};
  }
  if (inode.ino == next_ino_) ++next_ino_;
  return add_inode(*directory.node, name, nid, directory.nid, inode, type);
}

/// Has the directory exactly what the writer puts on one that holds a whiteout?
bool Reader::is_marked(const tree::Node& directory) const {
  auto has = [&](std::string_view value) {
    return [&directory, value](std::string_view key) { return has_value(directory, key, value); };
  };
  if (result_.version > kMaxVersionWithMarks) return false;
  if (!std::all_of(std::begin(kDirectoryMarks), std::end(kDirectoryMarks), has(""))) return false;
  return result_.version == 0 ||
         std::all_of(std::begin(kOpaqueMarks), std::end(kOpaqueMarks), has("x"));
}

Result<> Reader::add_inode(tree::Node& parent, std::string_view name, uint64_t nid,
                           uint64_t parent_nid, const Inode& inode, FileType type) {
  tree::Node* node =
      CFS_TRY(from_tree(inode.offset, result_.tree.add(parent, name, inode.attributes)));
  nodes_.emplace(nid, node);
  if (type == FileType::kDirectory) directories_.push_back({node, nid, parent_nid, inode});
  return fill(*node, inode);
}

Result<> Reader::fill(tree::Node& node, const Inode& inode) {
  XattrList xattrs = CFS_TRY(read_xattrs(inode));
  if (node.is_device()) node.rdev = inode.u;
  if (node.is_symlink() || (node.is_regular() && inode.layout != InodeLayout::kChunkBased)) {
    if (inode.layout == InodeLayout::kChunkBased) {
      return corrupt(inode.offset, "symlink with a file's layout");
    }
    std::string text;
    std::vector<std::string_view> pieces = CFS_TRY(read_flat(inode));
    for (std::string_view piece : pieces) text += piece;
    if (node.is_symlink()) {
      CFS_TRY(from_tree(inode.offset, result_.tree.set_symlink_target(node, text)));
    } else {
      CFS_TRY(from_tree(inode.offset, result_.tree.set_content(node, text)));
    }
  } else if (node.is_regular()) {
    CFS_TRY(fill_external(node, inode, xattrs));
  } else if (node.is_directory()) {
    node.size_bytes = inode.size;
  } else if (inode.is_extended && inode.fits_compact) {
    // Only a size beyond 32 bits, which such a file cannot have, makes the writer do this.
    node.size_bytes = uint64_t{UINT32_MAX} + 1;
  }
  return set_xattrs(node, inode, xattrs);
}

Result<> Reader::fill_external(tree::Node& node, const Inode& inode, const XattrList& xattrs) {
  uint32_t chunk_bits = (inode.u & 31U) + kMinChunkBits;
  if ((inode.u & 0xffffU & ~31U) != 0 || inode.size == 0) {
    return corrupt(inode.offset, "file with an unknown chunk format");
  }
  uint64_t chunk_count = ((inode.size - 1) >> chunk_bits) + 1;
  if (chunk_count > kMaxChunks) return corrupt(inode.offset, "file with more than 1024 chunks");
  uint64_t offset = align_up(inode.tail_offset(), 4);
  // An array that does not fit into its block was moved out (COMPOSEFS-FORMAT.md §11, quirk).
  if (offset % kBlockSize + 4 * chunk_count <= kBlockSize) {
    CFS_TRY(claim(inode.offset, 4 * chunk_count));
    std::string_view chunks = CFS_TRY(text_at(offset, 4 * chunk_count));
    if (chunks.find_first_not_of('\xff') != chunks.npos) {
      return corrupt(inode.offset, "file with data blocks of its own");
    }
  }
  std::optional<verity::Digest> digest;
  const std::string_view* metacopy = xattrs.find(kMetacopy);
  if (metacopy != nullptr && !metacopy->empty()) {
    std::string_view header(reinterpret_cast<const char*>(kMetacopyHeader),
                            sizeof(kMetacopyHeader));
    if (metacopy->size() != 36 || !metacopy->starts_with(header)) {
      return corrupt(inode.offset, "digest of an unknown kind");
    }
    digest = verity::Digest::from_bytes(as_bytes(metacopy->substr(4)));
  }
  const std::string_view* redirect = xattrs.find(kRedirect);
  std::string_view payload = redirect != nullptr ? *redirect : std::string_view();
  if (payload.starts_with('/')) payload.remove_prefix(1);
  if (payload.find('\0') != payload.npos)
    return corrupt(inode.offset, "NUL byte in an object path");
  return from_tree(inode.offset, result_.tree.set_external(
                                     node, payload, digest ? &*digest : nullptr, inode.size));
}

Result<> Reader::set_xattrs(tree::Node& node, const Inode& inode, const XattrList& xattrs) {
  bool has_marks = node.is_regular() && inode.size == 0 && xattrs.marks_whiteout();
  bool is_whiteout = has_marks && node.parent() != nullptr && is_marked(*node.parent());
  if (has_marks && !is_whiteout) files_with_marks_.insert(&node);
  if (is_whiteout) node.attributes.mode = S_IFCHR | (node.attributes.mode & ~uint32_t{S_IFMT});
  for (size_t i = 0; i < xattrs.items.size(); ++i) {
    const auto& [key, value] = xattrs.items[i];
    std::string name = key;
    if (key.starts_with(kEscapedPrefix)) {
      name = std::string(kOverlayPrefix) + key.substr(kEscapedPrefix.size());
    } else if (key.starts_with(kOverlayPrefix)) {
      continue;  // the writer's own: metacopy, redirect, the root's opaque
    }
    if (is_whiteout && std::find(std::begin(kWhiteoutMarks), std::end(kWhiteoutMarks), key) !=
                           std::end(kWhiteoutMarks)) {
      continue;
    }
    if (node.xattr(name) != nullptr) return corrupt(inode.offset, "the same xattr twice");
    CFS_TRY(from_tree(inode.offset, result_.tree.set_xattr(node, name, value)));
    if (i < xattrs.shared_count) result_.shared_xattrs.insert(node.xattr(name));
  }
  return {};
}

Result<> Reader::resolve_pending() {
  for (const PendingName& name : pending_) {
    auto seen = nodes_.find(name.nid);
    if (seen == nodes_.end()) {
      // No name stands where the inode number says: the first one is the primary.
      in_order_ = false;
      Inode inode = CFS_TRY(read_inode(name.nid));
      CFS_TRY(add_inode(*name.parent, name.name, name.nid, 0, inode, name.type));
      continue;
    }
    tree::Node& target = *seen->second;
    uint64_t offset = name.nid * kInodeAlignment;
    bool same_type =
        name.type ==
        (target.is_whiteout() ? FileType::kRegular : file_type_of_mode(target.attributes.mode));
    if (!same_type) return corrupt(offset, "hard link with another file type");
    CFS_TRY(from_tree(offset, result_.tree.add_link(*name.parent, name.name, target)));
  }
  return {};
}

Result<Image> Reader::read() {
  CFS_TRY(read_header());
  uint64_t root_nid = super_.root_nid;
  Inode root = CFS_TRY(read_inode(root_nid));
  if (!S_ISDIR(root.attributes.mode) || !tree::is_valid_mode(root.attributes.mode)) {
    return corrupt(root.offset, "the root is not a directory");
  }
  tree::Node& root_node = result_.tree.root();
  root_node.attributes = root.attributes;
  CFS_TRY(fill(root_node, root));
  nodes_.emplace(root_nid, &root_node);
  if (root.ino == next_ino_) ++next_ino_;
  directories_.push_back({&root_node, root_nid, root_nid, root});
  while (!directories_.empty()) {
    PendingDirectory directory = directories_.front();
    directories_.pop_front();
    CFS_TRY(read_directory(directory));
  }
  CFS_TRY(resolve_pending());
  remove_directory_marks();
  return std::move(result_);
}

}  // namespace

Result<Image> read_image(Bytes image) {
  Reader reader(image, {});
  Result<Image> result = reader.read();
  if (!result || reader.possible_whiteouts().empty()) return result;
  Reader again(image, reader.possible_whiteouts());
  Result<Image> other = again.read();
  return other && again.is_in_order() ? std::move(other) : std::move(result);
}

Result<Image> read_image_file(int fd) {
  struct stat status = CFS_TRY(fstat_fd(fd));
  auto size = static_cast<size_t>(status.st_size);
  if (!S_ISREG(status.st_mode) || size == 0) return read_image({});
  void* mapping = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (mapping == MAP_FAILED) return errno_error("cannot map the image");
  Result<Image> image = read_image(Bytes(static_cast<const std::byte*>(mapping), size));
  ::munmap(mapping, size);
  return image;
}

}  // namespace cfs::erofs
