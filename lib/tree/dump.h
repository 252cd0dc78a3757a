// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <unordered_set>

#include "lib/base/byte_stream.h"
#include "lib/tree/tree.h"

namespace cfs::tree {

enum class DumpRules {
  kUsual,
  kStrict,  ///< also: a newline at the end, 11 fields, MODE of 16 bits, RDEV only for devices, SIZE
            ///< of symlinks
};

/// Reads a composefs dump from `fd` to its end.
///
/// PAYLOAD, CONTENT and DIGEST may be missing at the end of a line, and MODE may have more than 16
/// bits, which are ignored: the C reference's own tests hold it to that.
/// Stricter than the C reference where COMPOSEFS-FORMAT.md §13.3 says it is lax.
/// Errors: kInvalidInput with the line number; kIo. Time and memory O(input).
/// Spec: COMPOSEFS-FORMAT.md §14. Trust: input is attacker-controlled.
[[nodiscard]] Result<Tree> read_dump(int fd, DumpRules rules = DumpRules::kUsual);

/// The same from memory.
[[nodiscard]] Result<Tree> parse_dump(std::string_view text, DumpRules rules = DumpRules::kUsual);

struct DumpOptions {
  /// Only these names directly below the root, and the root itself; empty: everything.
  std::span<const std::string> top_level;
  /// Attributes to print behind the others of a node: those that the image which the tree was read
  /// from held in its shared table, as the C reference prints them. Null: none.
  const std::unordered_set<const Xattr*>* shared_xattrs = nullptr;
};

/// Writes the tree as a dump: depth-first, names sorted, a line an entry.
[[nodiscard]] Result<> write_dump(const Tree& tree, const DumpOptions& options,
                                  const ByteSink& sink);

}  // namespace cfs::tree
