// SPDX-License-Identifier: Apache-2.0
#include "lib/erofs/xattr_table.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>

#include "lib/base/check.h"
#include "lib/base/little_endian.h"
#include "lib/erofs/format.h"

namespace cfs::erofs {
namespace {

constexpr int64_t kMaxAddedBytes = 32767;

/// By index. Spec: COMPOSEFS-FORMAT.md §7.1.
constexpr std::string_view kPrefixes[] = {
    "",        "user.",    "system.posix_acl_access", "system.posix_acl_default", "trusted.",
    "lustre.", "security."};
constexpr uint8_t kLustre = 5;  // read, never written

bool key_less(const ImageXattr& a, const ImageXattr& b) { return a.key < b.key; }

/// Order of the shared table: keys descending, then longer values first, then values descending.
bool table_less(const ImageXattr& a, const ImageXattr& b) {
  if (a.key != b.key) return a.key > b.key;
  if (a.value.size() != b.value.size()) return a.value.size() > b.value.size();
  return a.value > b.value;
}

uint64_t hash_of(const ImageXattr& xattr) {
  return XXH3_64bits_withSeed(xattr.value.data(), xattr.value.size(),
                              XXH3_64bits(xattr.key.data(), xattr.key.size()));
}

bool same(const ImageXattr& a, const ImageXattr& b) { return a.key == b.key && a.value == b.value; }

}  // namespace

XattrName split_xattr_key(std::string_view key) {
  for (size_t index = 1; index < std::size(kPrefixes); ++index) {
    std::string_view prefix = kPrefixes[index];
    if (index != kLustre && key.starts_with(prefix)) {
      return {static_cast<uint8_t>(index), key.substr(prefix.size())};
    }
  }
  return {0, key};
}

std::optional<std::string_view> xattr_prefix(uint8_t index) {
  if (index >= std::size(kPrefixes)) return std::nullopt;
  return kPrefixes[index];
}

uint64_t xattr_entry_size(const ImageXattr& xattr) {
  return align_up(
      sizeof(XattrEntry) + split_xattr_key(xattr.key).suffix.size() + xattr.value.size(), 4);
}

uint32_t xattr_filter_bit(const ImageXattr& xattr) {
  XattrName name = split_xattr_key(xattr.key);
  return 1U << (XXH32(name.suffix.data(), name.suffix.size(), kXattrFilterSeed + name.index) & 31U);
}

std::string_view XattrMaker::escaped(std::string_view key) {
  if (!key.starts_with(kOverlayPrefix)) return key;
  auto [entry, is_new] = escaped_keys_.try_emplace(key);
  if (is_new) {
    entry->second = std::string(kEscapedPrefix) + std::string(key.substr(kOverlayPrefix.size()));
  }
  return entry->second;
}

// The reference counts only the bytes that it adds itself and forgets what it replaces: the sum can
// fall below zero, and then it refuses. Kept, because "refused" is part of being the same.
Result<> XattrMaker::set(const tree::Node& node, std::string_view key, std::string_view value) {
  auto size_of = [&](std::string_view text) {
    return static_cast<int64_t>(7 + key.size() + text.size());
  };
  auto found = std::find_if(list_.begin(), list_.end(),
                            [&](const ImageXattr& xattr) { return xattr.key == key; });
  if (found != list_.end()) {
    added_bytes_ = list_.size() == 1 ? 0 : added_bytes_ - size_of(found->value);
    list_.erase(found);
  }
  added_bytes_ += size_of(value) + (list_.empty() ? 12 : 0);
  if (added_bytes_ < 0 || added_bytes_ > kMaxAddedBytes) {
    return make_error(ErrorCode::kInvalidInput,
                      "'" + node.path() + "': the overlayfs attributes are too large");
  }
  list_.push_back({key, value});
  return {};
}

Result<std::span<const ImageXattr>> XattrMaker::make(const tree::Node& node,
                                                     const XattrContext& context) {
  list_.clear();
  added_bytes_ = 0;
  bool sorted = true;
  for (const tree::Xattr* xattr : node.xattrs()) {
    sorted = sorted && !xattr->key.starts_with(kOverlayPrefix);
    list_.push_back({escaped(xattr->key), xattr->value});
  }
  if (node.is_external()) {
    sorted = false;
    std::string_view value;
    if (node.digest() != nullptr) {
      std::memcpy(metacopy_, kMetacopyHeader, sizeof(kMetacopyHeader));
      std::memcpy(metacopy_ + 4, node.digest()->bytes().data(), verity::Digest::kSize);
      value = {metacopy_, sizeof(metacopy_)};
    }
    CFS_TRY(set(node, kMetacopy, value));
    if (node.has_payload()) {
      redirect_ = "/";
      if (node.payload_is_digest()) {
        verity::Digest::ObjectPath path = node.digest()->object_path_chars();
        redirect_.append(path.data(), path.size());
      } else {
        redirect_ += node.payload();
      }
      CFS_TRY(set(node, kRedirect, redirect_));
    }
  }
  if (node.is_whiteout()) {
    sorted = false;
    for (std::string_view mark : kWhiteoutMarks) CFS_TRY(set(node, mark, ""));
  }
  if (context.holds_whiteout) {
    sorted = false;
    for (std::string_view mark : kDirectoryMarks) CFS_TRY(set(node, escaped(mark), ""));
    if (context.marks_opaque) {
      for (std::string_view mark : kOpaqueMarks) CFS_TRY(set(node, escaped(mark), "x"));
    }
  }
  if (context.is_root) {
    sorted = false;
    CFS_TRY(set(node, kOpaque, "y"));
  }
  if (!sorted) std::sort(list_.begin(), list_.end(), key_less);
  return std::span<const ImageXattr>(list_);
}

uint64_t SharedXattrTable::CountedHash::operator()(uint32_t index) const {
  return hash_of((*counted)[index].xattr);
}

SharedXattrTable::Counted* SharedXattrTable::find(const ImageXattr& xattr) {
  uint32_t* found = index_.find(hash_of(xattr),
                                [&](uint32_t index) { return same(counted_[index].xattr, xattr); });
  return found != nullptr ? &counted_[*found] : nullptr;
}

void SharedXattrTable::add_count(const ImageXattr& xattr, uint32_t times) {
  Counted* counted = find(xattr);
  if (counted == nullptr) {
    // Keys and values from the tree outlive this table; what the maker composed does not.
    bool composed = xattr.key == kMetacopy || xattr.key == kRedirect;
    ImageXattr kept = xattr;
    if (composed) kept.value = texts_.emplace_back(xattr.value);
    counted = &counted_.emplace_back(Counted{kept});
    index_.insert(hash_of(kept), static_cast<uint32_t>(counted_.size() - 1));
  }
  counted->count += times;
}

bool SharedXattrTable::seen_before(DigestSet& set, const verity::Digest& digest) {
  uint64_t hash = std::hash<verity::Digest>()(digest);
  if (set.find(hash, [&](const verity::Digest* other) { return *other == digest; }) != nullptr) {
    return true;
  }
  set.insert(hash, &digest);
  return false;
}

void SharedXattrTable::count(std::span<const ImageXattr> xattrs, const tree::Node& node) {
  for (const ImageXattr& xattr : xattrs) {
    bool again = true;
    bool by_digest = false;
    if (xattr.key == kMetacopy && node.digest() != nullptr) {
      by_digest = true;
      again = seen_before(metacopy_digests_, *node.digest());
    } else if (xattr.key == kRedirect && node.payload_is_digest()) {
      by_digest = true;
      again = seen_before(redirect_digests_, *node.digest());
    } else if (xattr.key == kRedirect && !xattr.value.empty()) {
      // A payload text may be the object path of another node's digest.
      std::optional<verity::Digest> digest =
          verity::Digest::from_object_path(xattr.value.substr(1));
      if (digest) {
        by_digest = true;
        again = seen_before(redirect_digests_, payload_digests_.emplace_back(*digest));
      }
    }
    if (again) add_count(xattr, by_digest ? 2 : 1);
  }
}

void SharedXattrTable::finish() {
  std::vector<Counted*> shared;
  for (Counted& counted : counted_) {
    if (counted.count >= 2) shared.push_back(&counted);
  }
  std::sort(shared.begin(), shared.end(),
            [](const Counted* a, const Counted* b) { return table_less(a->xattr, b->xattr); });
  for (Counted* counted : shared) {
    counted->offset = static_cast<int64_t>(size_bytes_);
    size_bytes_ += xattr_entry_size(counted->xattr);
    shared_.push_back(counted->xattr);
  }
}

int64_t SharedXattrTable::offset_of(const ImageXattr& xattr) {
  const Counted* counted = find(xattr);
  return counted != nullptr ? counted->offset : -1;
}

}  // namespace cfs::erofs
