// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "lib/base/bytes.h"
#include "lib/base/result.h"

namespace cfs::deployer {

/// Decodes zstd frames while they arrive. Memory: a window of at most 8 MiB (docs/FORMATS.md) and
/// one input buffer. Trust: the input may be anything.
class ZstdReader {
 public:
  /// Fills the buffer, at least one byte; 0 = end.
  using Source = std::function<Result<size_t>(std::span<std::byte>)>;

  /// `size_bytes`: what comes out must be exactly that long.
  ZstdReader(Source source, uint64_t size_bytes);
  ~ZstdReader();
  ZstdReader(const ZstdReader&) = delete;
  ZstdReader& operator=(const ZstdReader&) = delete;

  /// As Source. Errors: kCorrupt (not zstd, cut short, too large a window, another size); those of
  /// the source.
  [[nodiscard]] Result<size_t> read(std::span<std::byte> buffer);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cfs::deployer
