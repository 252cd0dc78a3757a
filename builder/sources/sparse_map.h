// SPDX-License-Identifier: Apache-2.0
// Which pieces of a sparse file a tar archive holds. GNU tar has four ways to write that.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "builder/sources/tar_header.h"
#include "lib/base/result.h"

namespace cfs::builder {

constexpr size_t kMaxTarSparseExtents = 1'000'000;  ///< pieces of data in one sparse file
constexpr uint64_t kMaxTarHoleBytes = 64ULL << 30;  ///< holes in one file

/// Bytes `offset` to `offset` + `size` of a sparse file are in the archive.
struct TarExtent {
  uint64_t offset = 0;
  uint64_t size = 0;
  bool operator==(const TarExtent&) const = default;
};

// Errors of all that follows: kCorrupt, with the reason only.

/// Errors: there would be more than kMaxTarSparseExtents.
[[nodiscard]] Result<> add_extent(TarExtent extent, std::vector<TarExtent>& extents);

/// Adds the extents of a header of type 'S', or of a block behind one. Returns true if none of
/// them is marked as the end, so that more may follow.
[[nodiscard]] Result<bool> add_gnu_extents(std::span<const GnuTarExtent> list,
                                           std::vector<TarExtent>& extents);

/// Adds the extents of a pax record of format 0.1: "OFFSET,SIZE,OFFSET,SIZE".
[[nodiscard]] Result<> add_listed_extents(std::string_view text, std::vector<TarExtent>& extents);

/// Parses the map of format 1.0, which stands in front of the content: lines with the number of
/// extents, then the offset and the size of each. The rest of the last block is padding.
class SparseMapParser {
 public:
  /// Takes the next block. Returns true when the map has ended in it.
  [[nodiscard]] Result<bool> feed(std::string_view block);
  /// The extents, after the end.
  [[nodiscard]] std::vector<TarExtent> take() { return std::move(extents_); }

 private:
  std::string line_;
  std::optional<uint64_t> count_;
  std::optional<uint64_t> offset_;  ///< waits for its size
  std::vector<TarExtent> extents_;
};

/// Checks the map of a file of `size_bytes` for which the archive has `stored_bytes`: the extents
/// ascend, end where the file ends (an empty one stands for a hole there), fill whole blocks but
/// for the last one with data, and have exactly the bytes of the archive; the holes have
/// kMaxTarHoleBytes at most.
[[nodiscard]] Result<> check_sparse_map(std::span<const TarExtent> extents, uint64_t size_bytes,
                                        uint64_t stored_bytes);

}  // namespace cfs::builder
