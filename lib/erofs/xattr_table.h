// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lib/base/flat_set.h"
#include "lib/tree/tree.h"
#include "lib/verity/digest.h"

namespace cfs::erofs {

/// An attribute as it stands in the image: overlayfs' own added, the tree's escaped.
struct ImageXattr {
  std::string_view key;
  std::string_view value;
};

/// A key without its well-known prefix. Spec: COMPOSEFS-FORMAT.md §7.1.
struct XattrName {
  uint8_t index = 0;
  std::string_view suffix;
};
[[nodiscard]] XattrName split_xattr_key(std::string_view key);
/// The prefix of that index; nothing for an index that EROFS does not have.
[[nodiscard]] std::optional<std::string_view> xattr_prefix(uint8_t index);

/// Bytes of one entry with its padding.
[[nodiscard]] uint64_t xattr_entry_size(const ImageXattr& xattr);

/// The bit that an xattr clears in the inode's name filter.
[[nodiscard]] uint32_t xattr_filter_bit(const ImageXattr& xattr);

/// What a node is, beyond what the tree says, when its attributes are made.
struct XattrContext {
  bool is_root = false;
  bool holds_whiteout = false;
  bool marks_opaque = false;  ///< version 1: directories that hold a whiteout are marked opaque too
};

/// Makes the final attribute list of one node after the other. The result is valid until the next
/// call. Spec: COMPOSEFS-FORMAT.md §5.
class XattrMaker {
 public:
  /// Sorted by key. Errors: kInvalidInput (beyond the limits).
  [[nodiscard]] Result<std::span<const ImageXattr>> make(const tree::Node& node,
                                                         const XattrContext& context);

 private:
  Result<> set(const tree::Node& node, std::string_view key, std::string_view value);
  /// The key in the image of an attribute that the tree calls `key`.
  std::string_view escaped(std::string_view key);

  std::vector<ImageXattr> list_;
  int64_t added_bytes_ = 0;
  char metacopy_[36] = {};
  std::string redirect_;
  std::unordered_map<std::string_view, std::string> escaped_keys_;
};

/// Finds the attributes that occur in two inodes or more; they stand once in the image's shared
/// table. Every digest and every payload of the tree passes through here, so those that were seen
/// once cost eight bytes and only what is really shared is stored.
/// Spec: COMPOSEFS-FORMAT.md §7.3.
class SharedXattrTable {
 public:
  /// First pass: once for each inode's list.
  void count(std::span<const ImageXattr> xattrs, const tree::Node& node);
  /// After the first pass: orders the table.
  void finish();

  /// Offset of a shared attribute in the table, or -1. After finish().
  [[nodiscard]] int64_t offset_of(const ImageXattr& xattr);
  /// The table's attributes in their order.
  [[nodiscard]] std::span<const ImageXattr> entries() const { return shared_; }
  [[nodiscard]] uint64_t size_bytes() const { return size_bytes_; }

 private:
  struct Counted {
    ImageXattr xattr;
    uint32_t count = 0;
    int64_t offset = -1;
  };
  struct CountedHash {
    const std::deque<Counted>* counted;
    uint64_t operator()(uint32_t index) const;
  };
  struct DigestHash {
    uint64_t operator()(const verity::Digest* digest) const {
      return std::hash<verity::Digest>()(*digest);
    }
  };
  using DigestSet = FlatSet<const verity::Digest*, nullptr, DigestHash>;

  Counted* find(const ImageXattr& xattr);
  void add_count(const ImageXattr& xattr, uint32_t times);
  /// Puts the digest into the set. Returns true if it was there already.
  static bool seen_before(DigestSet& set, const verity::Digest& digest);

  std::deque<Counted> counted_;
  FlatSet<uint32_t, UINT32_MAX, CountedHash> index_{CountedHash{&counted_}};
  DigestSet metacopy_digests_;
  DigestSet redirect_digests_;
  std::deque<verity::Digest> payload_digests_;  ///< of payload texts that look like object paths
  std::deque<std::string> texts_;
  std::vector<ImageXattr> shared_;
  uint64_t size_bytes_ = 0;
};

}  // namespace cfs::erofs
