// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace cfs::tree {

/// Contents of regular files up to this size lie in the image itself, as upstream has it.
/// FORMAT BREAK: another value gives other image digests (COMPOSEFS-FORMAT.md §3.1).
constexpr uint64_t kInlineBytes = 64;

enum class Placement {
  kInline,  ///< Tree::set_content()
  kObject,  ///< Tree::set_object(): in an object store, bound by its digest
};

/// Where the content of a regular file lies. Every source asks this and nothing else.
[[nodiscard]] constexpr Placement placement_of(uint64_t size_bytes) {
  return size_bytes <= kInlineBytes ? Placement::kInline : Placement::kObject;
}

}  // namespace cfs::tree
