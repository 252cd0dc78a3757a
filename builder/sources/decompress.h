// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string>

#include "lib/base/byte_stream.h"
#include "lib/base/result.h"

namespace cfs::builder {

/// Finds out by its first bytes how a stream is compressed and delivers it plain: gzip, bzip2, xz,
/// lzma, lzip, zstd, lz4, compress, or not at all. Data that begins with a tar header is plain,
/// whatever the name of its first member looks like.
///
/// Several compressed streams of one kind in a row are one, skippable frames of zstd and lz4 are
/// skipped, and zeros behind the last are padding. Whatever the format has in checksums and sizes
/// is compared.
/// Errors: kCorrupt (malformed, cut off, wrong checksum, something behind it, over the memory
/// limit); those of the source. Memory: 512 MiB at most (dictionaries of xz; zstd 128 MiB).
/// Spec: RFC 1952; RFC 8878; the .xz file format; lz4 frame format; lzip(1); compress(1).
/// Trust: the data may come from anywhere.
class Decompressor {
 public:
  /// `name` is for messages.
  Decompressor(ByteSource source, std::string name);
  Decompressor(Decompressor&&) noexcept;
  ~Decompressor();

  /// A ByteSource of the plain data.
  [[nodiscard]] Result<size_t> read(std::span<std::byte> buffer);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// All of `data`, plain. Errors: kCorrupt; kInvalidInput when it is larger than `limit_bytes`.
[[nodiscard]] Result<std::string> decompress(const std::string& data, const std::string& name,
                                             size_t limit_bytes);

}  // namespace cfs::builder
