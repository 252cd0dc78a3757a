// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "lib/base/bytes.h"
#include "lib/verity/digest.h"

namespace cfs::verity {

/// How several blocks are hashed at once.
enum class Sha256Method {
  kOneByOne,  ///< OpenSSL
  kPairs,     ///< two at once with the SHA instructions of x86
  kSixteen,   ///< sixteen at once with AVX-512
};

/// Returns true if this processor can do it. Thread-safe.
[[nodiscard]] bool is_supported(Sha256Method method);

/// The SHA-256 of each 4096-byte block of `data`, which is exactly as many as `digests`. Takes the
/// fastest method there is for that many blocks.
void sha256_blocks(Bytes data, std::span<Sha256Digest> digests);

/// The same by one method, which must be supported. For tests.
void sha256_blocks(Bytes data, std::span<Sha256Digest> digests, Sha256Method method);

}  // namespace cfs::verity
