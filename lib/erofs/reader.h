// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unordered_set>

#include "lib/base/bytes.h"
#include "lib/tree/tree.h"

namespace cfs::erofs {

struct Image {
  tree::Tree tree;
  unsigned version = 0;  ///< composefs version in the header: 0, 1, or 2 (composefs-rs)
  /// The attributes that the image holds in its shared table (for tree::write_dump).
  std::unordered_set<const tree::Xattr*> shared_xattrs;
};

/// Reads a composefs image back into the tree that it was written from.
///
/// Safe on any bytes: each byte of the image may be claimed once, so time and memory are O(size).
/// Errors: kCorrupt (what and at which offset); kUnsupported (not a composefs image, other
/// version). Spec: COMPOSEFS-FORMAT.md §12. Trust: input is attacker-controlled.
[[nodiscard]] Result<Image> read_image(Bytes image);

/// Maps the regular file `fd` and reads it. Nobody may make the file shorter meanwhile.
[[nodiscard]] Result<Image> read_image_file(int fd);

/// Checks that `image` is exactly what our writer makes of the tree in it: every byte, padding
/// included. Errors: those of read_image; kCorrupt with the offset of the first other byte.
[[nodiscard]] Result<> check_image(Bytes image);

}  // namespace cfs::erofs
