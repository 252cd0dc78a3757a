// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lib/base/byte_stream.h"
#include "lib/tree/tree.h"
#include "lib/verity/digest.h"

namespace cfs::erofs {

/// Which composefs versions the writer may use (COMPOSEFS-FORMAT.md §4): the lowest that can hold
/// the tree. Defaults are upstream's.
struct VersionRange {
  unsigned min = 0;
  unsigned max = 1;
};

struct ImageInfo {
  verity::Digest digest;     ///< fs-verity digest of the image: names the whole tree
  uint64_t size_bytes = 0;   ///< a multiple of 4096
  uint64_t inode_count = 0;  ///< with the 256 stubs
  unsigned version = 0;      ///< composefs version used: 0 or 1
};

/// Writes the composefs image of `tree` in one forward pass, byte for byte what the C reference
/// writes for the same tree. `sink` receives it front to back.
///
/// Memory: about 40 bytes an inode besides the tree. Same tree, same bytes.
/// Errors: kInvalidInput (beyond a limit of the format, with the path); those of `sink`.
/// Spec: COMPOSEFS-FORMAT.md §2 to §11.
[[nodiscard]] Result<ImageInfo> write_image(const tree::Tree& tree, const VersionRange& versions,
                                            const ByteSink& sink);

/// The same to a file descriptor (a pipe will do); -1 writes nothing and only computes.
[[nodiscard]] Result<ImageInfo> write_image(const tree::Tree& tree, const VersionRange& versions,
                                            int fd);

}  // namespace cfs::erofs
