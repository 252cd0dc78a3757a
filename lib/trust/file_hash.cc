// SPDX-License-Identifier: Apache-2.0
#include "lib/trust/file_hash.h"

#include <openssl/evp.h>

#include "lib/verity/merkle.h"

namespace cfs::trust {

using verity::Sha256Digest;
using verity::Sha512Digest;

std::string_view FileHash::algorithm() const {
  return std::holds_alternative<Sha256Digest>(value_) ? "sha256" : "sha512";
}

std::string FileHash::hex() const {
  return std::visit([](const auto& digest) { return digest.hex(); }, value_);
}

bool FileHash::matches(Bytes content) const {
  if (const auto* sha256 = std::get_if<Sha256Digest>(&value_)) {
    return verity::sha256(content) == *sha256;
  }
  Sha512Digest digest;
  unsigned size = 0;
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): bytes for a C interface
  auto* bytes = reinterpret_cast<unsigned char*>(digest.mutable_bytes().data());
  return EVP_Digest(content.data(), content.size(), bytes, &size, EVP_sha512(), nullptr) == 1 &&
         size == Sha512Digest::kSize && digest == std::get<Sha512Digest>(value_);
}

}  // namespace cfs::trust
