// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lib/base/bytes.h"
#include "lib/verity/digest.h"

namespace cfs::verity {

/// Can this processor run sha256_pair()?
[[nodiscard]] bool has_sha256_pair();

/// SHA-256 of two pieces of data of equal size, a multiple of 64 bytes, at once. Only where
/// has_sha256_pair().
/// Spec: FIPS 180-4, section 6.2.
void sha256_pair(Bytes first, Bytes second, Sha256Digest& first_digest,
                 Sha256Digest& second_digest);

}  // namespace cfs::verity
