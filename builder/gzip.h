// SPDX-License-Identifier: Apache-2.0
// libarchive reads gzip too, but does not compare its checksums: a flipped bit in a tar.gz would
// become the content of an image. gzip.cc is the only file that includes zlib.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "lib/base/bytes.h"
#include "lib/base/result.h"

namespace cfs::builder {

/// Does a file that begins with `head` (two bytes are enough) hold gzip data?
[[nodiscard]] bool is_gzip(Bytes head);

/// Decompresses gzip members, as many as there are, and checks each one's CRC-32 and size. Zeros
/// after the last are padding. Spec: RFC 1952.
class Gunzip {
 public:
  /// The next piece of the compressed data, valid until the next call; empty at the end.
  using Source = std::function<Result<Bytes>()>;

  /// `name` is for messages.
  Gunzip(Source source, std::string name);
  Gunzip(Gunzip&&) noexcept;
  ~Gunzip();

  /// Decompresses into `out`, at least one byte; 0 = end.
  /// Errors: kCorrupt (malformed, cut off, wrong checksum, something behind it), those of Source.
  [[nodiscard]] Result<size_t> read(std::span<std::byte> out);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cfs::builder
