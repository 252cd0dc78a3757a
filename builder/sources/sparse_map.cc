// SPDX-License-Identifier: Apache-2.0
#include "builder/sources/sparse_map.h"

#include <fmt/format.h>

#include <algorithm>

namespace cfs::builder {
namespace {

Error corrupt(std::string what) { return make_error(ErrorCode::kCorrupt, std::move(what)); }

}  // namespace

Result<> add_extent(TarExtent extent, std::vector<TarExtent>& extents) {
  if (extents.size() == kMaxTarSparseExtents) {
    return corrupt(fmt::format("has more than {} extents", kMaxTarSparseExtents));
  }
  extents.push_back(extent);
  return {};
}

Result<bool> add_gnu_extents(std::span<const GnuTarExtent> list, std::vector<TarExtent>& extents) {
  for (const GnuTarExtent& extent : list) {
    if (extent.size[0] == '\0') return false;
    std::optional<int64_t> offset = parse_tar_number(tar_field(extent.offset));
    std::optional<int64_t> size = parse_tar_number(tar_field(extent.size));
    if (!offset || !size || *offset < 0 || *size < 0) return corrupt("has a malformed extent");
    CFS_TRY(add_extent({static_cast<uint64_t>(*offset), static_cast<uint64_t>(*size)}, extents));
  }
  return true;
}

Result<> add_listed_extents(std::string_view text, std::vector<TarExtent>& extents) {
  bool more = true;
  auto next_number = [&] {
    size_t comma = std::min(text.find(','), text.size());
    std::optional<uint64_t> number = parse_tar_decimal(text.substr(0, comma));
    more = comma < text.size();
    text.remove_prefix(more ? comma + 1 : comma);
    return number;
  };
  while (more) {
    std::optional<uint64_t> offset = next_number();
    std::optional<uint64_t> size = next_number();
    if (!offset || !size) return corrupt("is malformed");
    CFS_TRY(add_extent({*offset, *size}, extents));
  }
  return {};
}

Result<bool> SparseMapParser::feed(std::string_view block) {
  constexpr size_t kMaxLineBytes = 20;  // the digits of 2^64
  for (char c : block) {
    if (c != '\n') {
      line_ += c;
      if (line_.size() > kMaxLineBytes) return corrupt("has a malformed sparse map");
      continue;
    }
    std::optional<uint64_t> number = parse_tar_decimal(line_);
    if (!number) return corrupt("has a malformed sparse map");
    line_.clear();
    if (!count_) {
      count_ = number;
      if (*count_ > kMaxTarSparseExtents) {
        return corrupt(
            fmt::format("has {} extents; {} are supported", *count_, kMaxTarSparseExtents));
      }
    } else if (!offset_) {
      offset_ = number;
    } else {
      extents_.push_back({*offset_, *number});
      offset_.reset();
    }
    if (extents_.size() == *count_) return true;
  }
  return false;
}

Result<> check_sparse_map(std::span<const TarExtent> extents, uint64_t size_bytes,
                          uint64_t stored_bytes) {
  uint64_t end = 0;
  uint64_t sum = 0;
  bool is_block_open = false;
  for (const TarExtent& extent : extents) {
    if (extent.offset < end || extent.size > size_bytes ||
        extent.offset > size_bytes - extent.size) {
      return corrupt("has a sparse map that is not in order or leads out of the file");
    }
    if (extent.size > 0 && is_block_open) {
      return corrupt(
          "has a sparse map with an extent in the middle that does not fill its last block, "
          "behind which GNU tar skips to the next block and others do not");
    }
    is_block_open = is_block_open || extent.size % kTarBlockBytes != 0;
    end = extent.offset + extent.size;
    sum += extent.size;
  }
  if (end != size_bytes) {
    return corrupt("has a sparse map that ends before the file, which GNU tar would cut off there");
  }
  if (size_bytes - sum > kMaxTarHoleBytes) {
    return corrupt(fmt::format("has holes of {} bytes; {} are supported", size_bytes - sum,
                               kMaxTarHoleBytes))
        .with_hint("fs-verity hashes holes too; leave the file out of the archive");
  }
  if (sum != stored_bytes) {
    return corrupt(
        fmt::format("has a sparse map of {} bytes and {} bytes in the archive", sum, stored_bytes));
  }
  return {};
}

}  // namespace cfs::builder
