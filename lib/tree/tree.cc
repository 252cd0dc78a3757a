// SPDX-License-Identifier: Apache-2.0
// How a tree lies in memory. Nodes are in a deque (stable addresses), texts and digests in an
// arena, extended attributes are interned: a root file system with SELinux labels has some hundred
// distinct ones for a hundred thousand files. One hash table over (parent, name) serves every
// lookup and finds duplicates at once; directories keep their entries in a plain vector that is
// sorted when somebody looks. A million files take about 220 MB.
#include "lib/tree/tree.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <unordered_set>
#include <utility>

#include "lib/base/check.h"
#include "lib/base/flat_set.h"
#include "lib/base/relative_path.h"

namespace cfs::tree {
namespace {

constexpr size_t kMaxSymlinkTargetBytes = 4095;
constexpr size_t kMaxPayloadBytes = 4095;
constexpr size_t kMaxContentBytes = 5000;
constexpr size_t kMaxXattrKeyBytes = 255;
constexpr size_t kMaxXattrValueBytes = 65535;
constexpr size_t kMaxXattrTotalBytes = 32767;

uint64_t hash_of_entry(const Node* parent, std::string_view name) {
  return XXH3_64bits_withSeed(name.data(), name.size(), reinterpret_cast<uintptr_t>(parent));
}

uint64_t hash_of_xattr(std::string_view key, std::string_view value) {
  return XXH3_64bits_withSeed(value.data(), value.size(), XXH3_64bits(key.data(), key.size()));
}

Error invalid(const Node& node, const std::string& what) {
  return make_error(ErrorCode::kInvalidInput, "'" + node.path() + "': " + what);
}

Result<> check_name(std::string_view name) {
  if (name.empty()) return make_error(ErrorCode::kInvalidInput, "a name is empty");
  if (name.size() > kMaxNameBytes) {
    return make_error(ErrorCode::kInvalidInput, "a name is longer than 255 bytes: '" +
                                                    std::string(name.substr(0, 40)) + "…'");
  }
  if (!is_plain_name(name)) {
    return make_error(ErrorCode::kInvalidInput,
                      "'" + std::string(name) + "' cannot be the name of an entry");
  }
  return {};
}

size_t size_of(std::string_view key, std::string_view value) {
  return 7 + key.size() + value.size();
}

bool name_less(const Node* a, const Node* b) { return a->name() < b->name(); }

}  // namespace

bool is_valid_mode(uint32_t mode) {
  if (mode > 0xffff) return false;
  return S_ISDIR(mode) || S_ISREG(mode) || S_ISLNK(mode) || S_ISCHR(mode) || S_ISBLK(mode) ||
         S_ISFIFO(mode) || S_ISSOCK(mode);
}

struct Tree::Storage {
  struct EntryHash {
    uint64_t operator()(const Node* node) const {
      return hash_of_entry(node->parent(), node->name());
    }
  };
  struct XattrHash {
    uint64_t operator()(const Xattr* xattr) const {
      return hash_of_xattr(xattr->key, xattr->value);
    }
  };

  std::string_view keep(std::string_view text) {
    if (text.empty()) return {};
    char* copy = static_cast<char*>(arena.allocate(text.size(), 1));
    std::memcpy(copy, text.data(), text.size());
    return {copy, text.size()};
  }

  const verity::Digest* keep(const verity::Digest& digest) {
    return new (arena.allocate(sizeof(verity::Digest), alignof(verity::Digest)))
        verity::Digest(digest);
  }

  /// xattr keys are few: kept once each, apart from the pairs.
  std::string_view keep_key(std::string_view key) {
    if (auto found = keys.find(key); found != keys.end()) return *found;
    return *keys.insert(keep(key)).first;
  }

  const Xattr* intern(std::string_view key, std::string_view value) {
    uint64_t hash = hash_of_xattr(key, value);
    const Xattr** found = xattrs.find(
        hash, [&](const Xattr* xattr) { return xattr->key == key && xattr->value == value; });
    if (found != nullptr) return *found;
    const Xattr* xattr =
        new (arena.allocate(sizeof(Xattr), alignof(Xattr))) Xattr{keep_key(key), keep(value)};
    xattrs.insert(hash, xattr);
    return xattr;
  }

  std::pmr::monotonic_buffer_resource arena{64 * 1024};
  std::deque<Node> nodes;
  FlatSet<Node*, nullptr, EntryHash> index;
  FlatSet<const Xattr*, nullptr, XattrHash> xattrs;
  std::unordered_set<std::string_view> keys;
};

const Xattr* Node::xattr(std::string_view key) const {
  auto found = std::lower_bound(xattrs_.begin(), xattrs_.end(), key,
                                [](const Xattr* a, std::string_view b) { return a->key < b; });
  return found != xattrs_.end() && (*found)->key == key ? *found : nullptr;
}

std::span<Node* const> Node::children() const {
  if (!entries_) return {};
  if (!entries_->sorted) {
    std::sort(entries_->nodes.begin(), entries_->nodes.end(), name_less);
    entries_->sorted = true;
  }
  return entries_->nodes;
}

std::string Node::path() const {
  if (parent_ == nullptr) return "/";
  std::vector<std::string_view> names;
  for (const Node* node = this; node->parent_ != nullptr; node = node->parent_) {
    names.push_back(node->name_);
  }
  std::string path;
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    path += '/';
    path += *name;
  }
  return path;
}

Tree::Tree() : storage_(std::make_unique<Storage>()) {
  root_ = &storage_->nodes.emplace_back();
  root_->attributes.mode = S_IFDIR | 0755;
  root_->attributes.nlink = 2;
  root_->entries_ = std::make_unique<Node::Entries>();
}

Tree::Tree(Tree&&) noexcept = default;
Tree& Tree::operator=(Tree&&) noexcept = default;
Tree::~Tree() = default;

Result<> Tree::check_is_free(const Node& parent, std::string_view name) const {
  CFS_TRY(check_name(name));
  if (!parent.entries_) return invalid(parent, "is not a directory, it cannot have entries");
  if (child(parent, name) != nullptr) {
    return make_error(ErrorCode::kExists, "'" + (parent.parent_ != nullptr ? parent.path() : "") +
                                              "/" + std::string(name) + "' is there twice");
  }
  return {};
}

void Tree::put_into(Node& parent, Node& node) {
  node.parent_ = &parent;
  storage_->index.insert(hash_of_entry(&parent, node.name_), &node);
  Node::Entries& entries = *parent.entries_;
  if (!entries.nodes.empty() && !name_less(entries.nodes.back(), &node)) entries.sorted = false;
  entries.nodes.push_back(&node);
}

Result<Node*> Tree::insert(Node& parent, std::string_view name) {
  CFS_TRY(check_is_free(parent, name));
  Node& node = storage_->nodes.emplace_back();
  node.name_ = storage_->keep(name);
  put_into(parent, node);
  return &node;
}

Result<Node*> Tree::add(Node& parent, std::string_view name, const Attributes& attributes) {
  if (!is_valid_mode(attributes.mode)) {
    return make_error(ErrorCode::kInvalidInput,
                      "'" + std::string(name) + "': the mode has no valid file type");
  }
  Node* node = CFS_TRY(insert(parent, name));
  node->attributes = attributes;
  if (node->is_directory()) node->entries_ = std::make_unique<Node::Entries>();
  return node;
}

Result<Node*> Tree::add_link(Node& parent, std::string_view name, Node& target) {
  Node& inode = target.inode();
  if (inode.is_directory()) return invalid(inode, "is a directory, it cannot have hard links");
  Node* node = CFS_TRY(insert(parent, name));
  node->link_target_ = &inode;
  ++inode.link_count_;
  return node;
}

Node* Tree::child(const Node& directory, std::string_view name) {
  Node** found = storage_->index.find(hash_of_entry(&directory, name), [&](const Node* node) {
    return node->parent_ == &directory && node->name_ == name;
  });
  return found != nullptr ? *found : nullptr;
}

const Node* Tree::child(const Node& directory, std::string_view name) const {
  return const_cast<Tree*>(this)->child(directory, name);  // NOLINT: the lookup changes nothing
}

Node* Tree::find(std::string_view path) {
  if (path.empty() || path.front() != '/') return nullptr;
  if (path.size() > 1 && path.back() == '/') return nullptr;
  Node* node = root_;
  path.remove_prefix(1);
  while (!path.empty()) {
    size_t slash = std::min(path.find('/'), path.size());
    node = child(*node, path.substr(0, slash));
    if (node == nullptr) return nullptr;
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return node;
}

const Node* Tree::find(std::string_view path) const {
  return const_cast<Tree*>(this)->find(path);  // NOLINT: the lookup changes nothing
}

void Tree::remove(Node& top) {
  CFS_CHECK(top.parent_ != nullptr);
  std::unordered_set<const Node*> removed;
  std::vector<Node*> stack{&top};
  bool links_may_stay = false;
  while (!stack.empty()) {
    Node* node = stack.back();
    stack.pop_back();
    removed.insert(node);
    if (node->link_target_ != nullptr) --node->link_target_->link_count_;
    if (node->entries_) {
      stack.insert(stack.end(), node->entries_->nodes.begin(), node->entries_->nodes.end());
    }
    storage_->index.erase(storage_->index.find(hash_of_entry(node->parent_, node->name_),
                                               [&](const Node* other) { return other == node; }));
  }
  for (const Node* node : removed) links_may_stay |= node->link_count_ > 0;
  std::erase(top.parent_->entries_->nodes, &top);
  if (!links_may_stay) return;

  // The first name that stays takes the file over; later ones then point to it.
  Result<> walked = for_each([&](Node& node) -> Result<> {
    Node* old = node.link_target_;
    if (old == nullptr || !removed.contains(old)) return {};
    if (old->link_target_ != nullptr) {
      node.link_target_ = old->link_target_;
      ++node.link_target_->link_count_;
      return {};
    }
    take_over(node, *old);  // `old` tells the later names where the file is now
    return {};
  });
  CFS_CHECK(walked.has_value());
}

Result<> Tree::move(Node& node, Node& parent, std::string_view name) {
  for (const Node* above = &parent; above != nullptr; above = above->parent_) {
    CFS_CHECK(above != &node);
  }
  CFS_TRY(check_is_free(parent, name));
  storage_->index.erase(storage_->index.find(hash_of_entry(node.parent_, node.name_),
                                             [&](const Node* other) { return other == &node; }));
  std::erase(node.parent_->entries_->nodes, &node);
  node.name_ = storage_->keep(name);
  put_into(parent, node);
  return {};
}

void Tree::take_over(Node& node, Node& old) {
  node.link_target_ = nullptr;
  node.attributes = old.attributes;
  node.rdev = old.rdev;
  node.size_bytes = old.size_bytes;
  node.text_ = old.text_;
  node.payload_ = old.payload_;
  node.digest_ = old.digest_;
  node.xattrs_ = old.xattrs_;
  node.xattr_bytes_ = old.xattr_bytes_;
  node.payload_is_digest_ = old.payload_is_digest_;
  old.link_target_ = &node;
}

void Tree::order_links() {
  std::unordered_set<const Node*> visited;  // files with several names
  Result<> walked = for_each([&](Node& node) -> Result<> {
    Node* file = node.link_target_;
    if (file == nullptr) {
      if (node.has_links()) visited.insert(&node);
    } else if (file->link_target_ != nullptr) {  // taken over by an earlier name
      node.link_target_ = file->link_target_;
    } else if (!visited.contains(file)) {
      take_over(node, *file);
      node.link_count_ = std::exchange(file->link_count_, 0);
      visited.insert(&node);
    }
    return {};
  });
  CFS_CHECK(walked.has_value());
}

Result<> Tree::set_content(Node& file, std::string_view content) {
  CFS_CHECK(file.is_regular() && !file.is_link());
  if (content.size() > kMaxContentBytes) {
    return invalid(file, "inline content is larger than 5000 bytes");
  }
  file.text_ = storage_->keep(content);
  file.size_bytes = content.size();
  file.payload_ = {};
  file.digest_ = nullptr;
  file.payload_is_digest_ = false;
  return {};
}

void Tree::set_object(Node& file, const verity::Digest& digest, uint64_t size_bytes) {
  CFS_CHECK(file.is_regular() && !file.is_link());
  file.text_ = {};
  file.payload_ = {};
  file.digest_ = storage_->keep(digest);
  file.payload_is_digest_ = true;
  file.size_bytes = size_bytes;
}

Result<> Tree::set_external(Node& file, std::string_view payload, const verity::Digest* digest,
                            uint64_t size_bytes) {
  CFS_CHECK(file.is_regular() && !file.is_link());
  if (payload.size() > kMaxPayloadBytes || payload.find('\0') != payload.npos) {
    return invalid(file, "the payload path is longer than 4095 bytes or holds a NUL byte");
  }
  if (digest != nullptr) {
    verity::Digest::ObjectPath own_path = digest->object_path_chars();
    if (payload == std::string_view(own_path.data(), own_path.size())) {
      set_object(file, *digest, size_bytes);
      return {};
    }
  }
  file.text_ = {};
  file.payload_ = storage_->keep(payload);
  file.digest_ = digest != nullptr ? storage_->keep(*digest) : nullptr;
  file.payload_is_digest_ = false;
  file.size_bytes = size_bytes;
  return {};
}

Result<> Tree::set_symlink_target(Node& symlink, std::string_view target) {
  CFS_CHECK(symlink.is_symlink() && !symlink.is_link());
  if (target.empty() || target.size() > kMaxSymlinkTargetBytes ||
      target.find('\0') != target.npos) {
    return invalid(symlink, "a symlink target must have 1 to 4095 bytes, none of them NUL");
  }
  symlink.text_ = storage_->keep(target);
  return {};
}

Result<> Tree::set_xattr(Node& node, std::string_view key, std::string_view value) {
  CFS_CHECK(!node.is_link());
  if (key.empty() || key.size() > kMaxXattrKeyBytes || key.find('\0') != key.npos) {
    return invalid(node, "the name of an extended attribute must have 1 to 255 bytes, none NUL");
  }
  if (value.size() > kMaxXattrValueBytes) {
    return invalid(node, "the value of '" + std::string(key) + "' is larger than 65535 bytes");
  }
  auto place = std::lower_bound(node.xattrs_.begin(), node.xattrs_.end(), key,
                                [](const Xattr* a, std::string_view b) { return a->key < b; });
  bool replaces = place != node.xattrs_.end() && (*place)->key == key;
  size_t total = (node.xattrs_.empty() ? 12 : node.xattr_bytes_) + size_of(key, value);
  if (replaces) total -= size_of((*place)->key, (*place)->value);
  if (total > kMaxXattrTotalBytes) {
    return invalid(node, "the extended attributes are larger than 32767 bytes together");
  }
  node.xattr_bytes_ = static_cast<uint16_t>(total);
  const Xattr* xattr = storage_->intern(key, value);
  if (replaces) {
    *place = xattr;
  } else {
    node.xattrs_.insert(place, xattr);
  }
  return {};
}

void Tree::remove_xattr(Node& node, std::string_view key) {
  std::erase_if(node.xattrs_, [&](const Xattr* xattr) {
    if (xattr->key != key) return false;
    node.xattr_bytes_ = static_cast<uint16_t>(node.xattr_bytes_ - size_of(key, xattr->value));
    return true;
  });
}

void Tree::count_links() {
  Result<> walked = for_each([](Node& node) -> Result<> {
    if (!node.is_link() && !node.is_directory()) node.attributes.nlink = 1 + node.link_count_;
    return {};
  });
  CFS_CHECK(walked.has_value());
}

}  // namespace cfs::tree
