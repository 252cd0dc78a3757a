// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "lib/erofs/reader.h"
#include "lib/erofs/writer.h"

namespace cfs::erofs {

Result<> check_image(Bytes image) {
  Image read = CFS_TRY(read_image(image));
  uint64_t offset = 0;
  auto differs_at = [](uint64_t where) {
    return make_error(
        ErrorCode::kCorrupt,
        "corrupt image: not what its tree is written as (offset " + std::to_string(where) + ")");
  };
  auto compare = [&](Bytes piece) -> Result<> {
    size_t count = std::min<uint64_t>(piece.size(), image.size() - offset);
    auto [mine, theirs] =
        std::mismatch(piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(count),
                      image.begin() + static_cast<std::ptrdiff_t>(offset));
    if (mine != piece.end())
      return differs_at(offset + static_cast<uint64_t>(mine - piece.begin()));
    offset += piece.size();
    return {};
  };
  CFS_TRY(write_image(read.tree, VersionRange{.min = read.version, .max = read.version}, compare));
  return offset == image.size() ? Result<>() : differs_at(offset);
}

}  // namespace cfs::erofs
