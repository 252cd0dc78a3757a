// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "lib/base/result.h"
#include "lib/verity/digest.h"

namespace cfs::signer {

/// Compresses the file `in` into the file `out` as one zstd frame, and proves on the way that its
/// plain bytes have the fs-verity digest `digest` and `size_bytes` bytes. Same input, same output.
/// Returns the encoded size. Thread-safe for different files.
/// Errors: kDigestMismatch; kInterrupted; kIo, kNoSpace.
[[nodiscard]] Result<uint64_t> encode_object(int in, int out, const verity::Digest& digest,
                                             uint64_t size_bytes);

/// Does `in` hold exactly one zstd frame whose content has that digest and size?
/// Errors: kDigestMismatch when not; kInterrupted; kIo.
[[nodiscard]] Result<> check_encoded_object(int in, const verity::Digest& digest,
                                            uint64_t size_bytes);

}  // namespace cfs::signer
