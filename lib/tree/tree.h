// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>

#include <compare>
#include <cstdint>
#include <deque>
#include <memory>
#include <memory_resource>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/verity/digest.h"

namespace cfs::tree {

/// One extended attribute. Views into the tree that holds it; equal pairs share one Xattr.
struct Xattr {
  std::string_view key;    ///< full name: "user.x", 1..255 bytes
  std::string_view value;  ///< 0..65535 bytes, any content
};

struct Timestamp {
  int64_t seconds = 0;
  uint32_t nanoseconds = 0;
  auto operator<=>(const Timestamp&) const = default;
};

/// What every kind of node has. `mode` is st_mode: type bits and permissions, 16 bits.
struct Attributes {
  uint32_t mode = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t nlink = 1;  ///< as written to the image; for directories the writer counts anew
  Timestamp mtime;
};

/// Returns true for an st_mode of 16 bits with one of the 7 POSIX file types.
[[nodiscard]] bool is_valid_mode(uint32_t mode);

class Tree;

/// One name in the tree. A hard link is a node that points to the node that holds the file.
/// Read freely; change through Tree.
class Node {
 public:
  [[nodiscard]] std::string_view name() const { return name_; }  ///< empty for the root
  [[nodiscard]] const Node* parent() const { return parent_; }   ///< null for the root
  [[nodiscard]] Node* parent() { return parent_; }

  /// The node that holds the attributes: this one, or for a hard link its target (never a link).
  [[nodiscard]] const Node& inode() const {
    return link_target_ != nullptr ? *link_target_ : *this;
  }
  [[nodiscard]] Node& inode() { return link_target_ != nullptr ? *link_target_ : *this; }
  [[nodiscard]] bool is_link() const { return link_target_ != nullptr; }
  /// Returns true if hard links point to this node.
  [[nodiscard]] bool has_links() const { return link_count_ > 0; }

  [[nodiscard]] bool is_directory() const { return S_ISDIR(attributes.mode); }
  [[nodiscard]] bool is_regular() const { return S_ISREG(attributes.mode); }
  [[nodiscard]] bool is_symlink() const { return S_ISLNK(attributes.mode); }
  [[nodiscard]] bool is_device() const {
    return S_ISCHR(attributes.mode) || S_ISBLK(attributes.mode);
  }
  /// A character device with number 0:0, which overlayfs takes for "deleted here".
  [[nodiscard]] bool is_whiteout() const { return S_ISCHR(attributes.mode) && rdev == 0; }

  /// Attributes that need no checks are open. Meaningless in a hard link: use inode().
  Attributes attributes;
  uint32_t rdev = 0;        ///< devices: low 32 bits of dev_t
  uint64_t size_bytes = 0;  ///< regular files; free for other types (kept for the dump's sake)

  /// Regular file: content held in the image. Empty: none.
  [[nodiscard]] std::string_view content() const {
    return is_symlink() ? std::string_view() : text_;
  }
  /// Symlink: its target.
  [[nodiscard]] std::string_view symlink_target() const {
    return is_symlink() ? text_ : std::string_view();
  }
  /// Regular file held outside the image: its fs-verity digest, or null.
  [[nodiscard]] const verity::Digest* digest() const { return digest_; }
  /// Regular file held outside the image: its path in the object store ("ab/cd…"); empty: none.
  [[nodiscard]] std::string payload() const {
    return payload_is_digest_ ? digest_->object_path() : std::string(payload_);
  }
  /// Returns true if the payload is digest()->object_path().
  [[nodiscard]] bool payload_is_digest() const { return payload_is_digest_; }
  [[nodiscard]] bool has_payload() const { return payload_is_digest_ || !payload_.empty(); }
  /// A regular file whose bytes lie in an object store.
  [[nodiscard]] bool is_external() const { return is_regular() && size_bytes > 0 && text_.empty(); }

  /// Sorted by key; keys are unique.
  [[nodiscard]] std::span<const Xattr* const> xattrs() const { return xattrs_; }
  [[nodiscard]] const Xattr* xattr(std::string_view key) const;

  /// Directory: entries sorted by name (bytes). Empty for other types. Sorts when entries were
  /// added since the last call, so even const use is not thread-safe.
  [[nodiscard]] std::span<Node* const> children() const;

  /// Absolute path in the tree, "/" for the root. For messages and reports.
  [[nodiscard]] std::string path() const;

 private:
  friend class Tree;
  struct Entries {
    std::vector<Node*> nodes;
    bool sorted = true;
  };

  std::string_view name_;
  Node* parent_ = nullptr;
  Node* link_target_ = nullptr;
  std::string_view text_;     // content or symlink target
  std::string_view payload_;  // unless payload_is_digest_
  const verity::Digest* digest_ = nullptr;
  std::vector<const Xattr*> xattrs_;
  std::unique_ptr<Entries> entries_;  // directories
  uint32_t link_count_ = 0;           // hard-link nodes that point here
  uint16_t xattr_bytes_ = 0;          // 12 + Σ(7 + key + value), 0 without xattrs
  bool payload_is_digest_ = false;
};

/// A root file system: the one form that every source is read into and the image is written from.
///
/// Limits are those of the image format and are checked here, on the way in: names 1..255 bytes
/// without '/' and NUL, not "." or ".."; symlink targets 1..4095 bytes; inline content ≤ 5000
/// bytes; xattr keys 1..255 bytes, values ≤ 65535, and 12 + Σ(7 + key + value) ≤ 32767 a node.
/// Spec: COMPOSEFS-FORMAT.md §3, §13.1. Not thread-safe.
class Tree {
 public:
  /// A tree with a root directory, mode 040755, owner 0:0, mtime 0, nlink 2.
  Tree();
  Tree(Tree&&) noexcept;
  Tree& operator=(Tree&&) noexcept;
  ~Tree();

  [[nodiscard]] Node& root() { return *root_; }
  [[nodiscard]] const Node& root() const { return *root_; }

  /// Adds an entry to the directory `parent`. `attributes.mode` must have one of the 7 file types.
  /// Errors: kInvalidInput (bad name or type, parent not a directory), kExists.
  [[nodiscard]] Result<Node*> add(Node& parent, std::string_view name,
                                  const Attributes& attributes);

  /// Adds `name` as one more name of the file `target` (itself possibly a link; not a directory).
  /// Does not touch nlink: see count_links().
  [[nodiscard]] Result<Node*> add_link(Node& parent, std::string_view name, Node& target);

  /// The entry called `name`, or null.
  [[nodiscard]] Node* child(const Node& directory, std::string_view name);
  [[nodiscard]] const Node* child(const Node& directory, std::string_view name) const;
  /// The node at an absolute path ("/", "/a/b"; no "." or ".."; symlinks are not followed), or
  /// null.
  [[nodiscard]] Node* find(std::string_view path);
  [[nodiscard]] const Node* find(std::string_view path) const;

  /// Removes a node and all below it (not the root). If other names of a removed file stay, the
  /// first of them in tree order takes over its attributes.
  void remove(Node& node);

  /// Makes `node` (not the root), with all below it, the entry `name` of the directory `parent`,
  /// which does not lie below it. Hard links go on as they were.
  /// Errors: as add(); then nothing has changed.
  [[nodiscard]] Result<> move(Node& node, Node& parent, std::string_view name);

  /// Regular file: the bytes are in the image. Sets size_bytes. Clears digest and payload.
  [[nodiscard]] Result<> set_content(Node& file, std::string_view content);
  /// Regular file: the bytes are object `digest` of the store. Clears content.
  void set_object(Node& file, const verity::Digest& digest, uint64_t size_bytes);
  /// As the dump format allows them: any payload path (≤ 4095 bytes; empty: none) and any or no
  /// digest.
  [[nodiscard]] Result<> set_external(Node& file, std::string_view payload,
                                      const verity::Digest* digest, uint64_t size_bytes);
  [[nodiscard]] Result<> set_symlink_target(Node& symlink, std::string_view target);

  /// Adds or replaces. Errors: kInvalidInput (limits).
  [[nodiscard]] Result<> set_xattr(Node& node, std::string_view key, std::string_view value);
  void remove_xattr(Node& node, std::string_view key);

  /// Makes the first name of each file, in the order of for_each(), the one that holds it. What the
  /// image looks like depends on it, and sources name hard links in an order of their own.
  void order_links();

  /// Sets nlink of every non-directory to its number of names. Sources that keep hard links call it
  /// once after the last change.
  void count_links();

  /// Calls `visit(node)` for every node in depth-first order, names sorted, parents first; stops at
  /// and returns the first error.
  template <typename Visit>
  Result<> for_each(Visit visit) const {
    return walk(*root_, visit);
  }
  template <typename Visit>
  Result<> for_each(Visit visit) {
    return walk(*root_, visit);
  }

 private:
  template <typename AnyNode, typename Visit>
  static Result<> walk(AnyNode& start, Visit& visit) {
    std::vector<AnyNode*> stack{&start};
    while (!stack.empty()) {
      AnyNode* node = stack.back();
      stack.pop_back();
      CFS_TRY(visit(*node));
      std::span<Node* const> children = node->children();
      stack.insert(stack.end(), children.rbegin(), children.rend());
    }
    return {};
  }

  struct Storage;
  /// Makes `node`, a link, hold the file that `old` held, and `old` a link to it.
  static void take_over(Node& node, Node& old);
  Result<Node*> insert(Node& parent, std::string_view name);
  /// Fails unless `parent` can get an entry `name`.
  Result<> check_is_free(const Node& parent, std::string_view name) const;
  void put_into(Node& parent, Node& node);
  std::unique_ptr<Storage> storage_;
  Node* root_ = nullptr;
};

}  // namespace cfs::tree
