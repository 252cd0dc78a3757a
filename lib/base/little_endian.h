// SPDX-License-Identifier: Apache-2.0
// Unaligned little-endian integers. On-disk structs are made of these, so that a struct can be
// copied to and from bytes on any machine and needs neither packing attributes nor swapping calls.
#pragma once

#include <cstdint>
#include <cstring>

#include "lib/base/bytes.h"

namespace cfs {

template <typename T>
class LittleEndian {
 public:
  constexpr LittleEndian() = default;
  constexpr LittleEndian(T value) { store(value); }  // NOLINT(google-explicit-constructor)
  constexpr LittleEndian& operator=(T value) {
    store(value);
    return *this;
  }
  constexpr operator T() const {  // NOLINT(google-explicit-constructor)
    uint64_t value = 0;
    for (unsigned i = 0; i < sizeof(T); ++i) value |= uint64_t{bytes_[i]} << (8 * i);
    return static_cast<T>(value);
  }

 private:
  constexpr void store(T value) {
    auto wide = static_cast<uint64_t>(value);
    for (unsigned i = 0; i < sizeof(T); ++i) bytes_[i] = static_cast<uint8_t>(wide >> (8 * i));
  }
  uint8_t bytes_[sizeof(T)] = {};
};

/// The integer at `offset` of `bytes`, which reach behind it.
template <typename T>
T load_little_endian(Bytes bytes, size_t offset) {
  LittleEndian<T> value;
  std::memcpy(&value, bytes.data() + offset, sizeof(value));
  return value;
}

using le16 = LittleEndian<uint16_t>;
using le32 = LittleEndian<uint32_t>;
using le64 = LittleEndian<uint64_t>;
static_assert(sizeof(le16) == 2 && sizeof(le32) == 4 && sizeof(le64) == 8 && alignof(le64) == 1);

}  // namespace cfs
