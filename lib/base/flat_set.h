// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace cfs {

/// A set of small values (pointers, indices) in one array: open addressing, linear probing, at most
/// half full. What equality and the hash mean is the caller's: lookups take a hash and a predicate,
/// `HashOf` gives the hash of a stored value when the table grows or closes a gap.
///
/// `kEmpty` is a value that is never stored.
template <typename T, T kEmpty, typename HashOf>
class FlatSet {
 public:
  explicit FlatSet(HashOf hash_of = {}) : hash_of_(std::move(hash_of)) {}

  /// The stored value with this hash for which `equal(value)` holds, or null.
  template <typename Equal>
  T* find(uint64_t hash, Equal equal) {
    if (slots_.empty()) return nullptr;
    for (size_t i = hash & mask(); slots_[i] != kEmpty; i = (i + 1) & mask()) {
      if (equal(slots_[i])) return &slots_[i];
    }
    return nullptr;
  }

  /// Adds a value that is not in the set.
  void insert(uint64_t hash, T value) {
    if (2 * (size_ + 1) > slots_.size()) grow();
    place(hash, value);
    ++size_;
  }

  /// Removes what find() returned.
  void erase(T* found) {
    auto gap = static_cast<size_t>(found - slots_.data());
    slots_[gap] = kEmpty;
    --size_;
    // Values behind the gap that would no longer be found move into it (Knuth, TAOCP 3, 6.4 R).
    for (size_t i = (gap + 1) & mask(); slots_[i] != kEmpty; i = (i + 1) & mask()) {
      size_t home = hash_of_(slots_[i]) & mask();
      bool reachable = gap < i ? (gap < home && home <= i) : (gap < home || home <= i);
      if (reachable) continue;
      slots_[gap] = std::exchange(slots_[i], kEmpty);
      gap = i;
    }
  }

  [[nodiscard]] size_t size() const { return size_; }

 private:
  [[nodiscard]] size_t mask() const { return slots_.size() - 1; }
  void place(uint64_t hash, T value) {
    size_t i = hash & mask();
    while (slots_[i] != kEmpty) i = (i + 1) & mask();
    slots_[i] = value;
  }
  void grow() {
    std::vector<T> old = std::exchange(slots_, {});
    slots_.assign(old.empty() ? 64 : 2 * old.size(), kEmpty);
    for (const T& value : old) {
      if (value != kEmpty) place(hash_of_(value), value);
    }
  }

  HashOf hash_of_;
  std::vector<T> slots_;
  size_t size_ = 0;
};

}  // namespace cfs
