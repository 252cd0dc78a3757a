// SPDX-License-Identifier: Apache-2.0
// How an object lies in a repository: as exactly one zstd frame (docs/FORMATS.md). The one codec of
// who publishes objects and who fetches them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "lib/base/byte_stream.h"
#include "lib/base/result.h"
#include "lib/verity/digest.h"

namespace cfs::transport {

/// Compresses the file `in` into the file `out`, and proves on the way that its plain bytes have
/// the fs-verity digest `digest` and `size_bytes` bytes. Same input, same output. Returns the
/// encoded size. Thread-safe for different files.
/// Errors: kDigestMismatch; kInterrupted; kIo, kNoSpace.
[[nodiscard]] Result<uint64_t> encode_object(int in, int out, const verity::Digest& digest,
                                             uint64_t size_bytes);

/// No encoded object of that plain size is larger, whatever its content.
[[nodiscard]] uint64_t max_encoded_size(uint64_t size_bytes);

/// Decodes an object while it arrives. Memory: a window of at most 8 MiB and one input buffer.
/// One thread at a time. Trust: the input may be anything.
class ObjectDecoder {
 public:
  /// `size_bytes`: the plain bytes must be exactly that many.
  ObjectDecoder(ByteSource source, uint64_t size_bytes);
  ~ObjectDecoder();
  ObjectDecoder(const ObjectDecoder&) = delete;
  ObjectDecoder& operator=(const ObjectDecoder&) = delete;

  /// A ByteSource of the plain bytes. The last of them are returned only after the input has ended
  /// where the frame does.
  /// Errors: kCorrupt (not zstd, cut short, anything after the first frame, too large a window,
  /// another size); those of the source.
  [[nodiscard]] Result<size_t> read(std::span<std::byte> buffer);

 private:
  struct State;
  Result<> finish_frame();

  std::unique_ptr<State> state_;
};

/// Succeeds if what can be read from `in` is an encoded object of that digest and size.
/// Errors: kDigestMismatch when not; kInterrupted; kIo.
[[nodiscard]] Result<> check_encoded_object(int in, const verity::Digest& digest,
                                            uint64_t size_bytes);

}  // namespace cfs::transport
