// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string>

#include "lib/base/bytes.h"
#include "lib/base/result.h"
#include "lib/json/json.h"

namespace cfs::trust {

/// An Ed25519 public key (RFC 8032).
struct PublicKey {
  std::array<std::byte, 32> bytes{};
  auto operator<=>(const PublicKey&) const = default;
};

using SignatureBytes = std::array<std::byte, 64>;

/// Does `signature` of `message` come from `key`?
[[nodiscard]] bool signature_is_valid(const PublicKey& key, Bytes message,
                                      const SignatureBytes& signature);

/// The key as TUF metadata writes it: {"keytype":"ed25519","keyval":{"public":"<hex>"},
/// "scheme":"ed25519"}. Spec: TUF 1.0.34 §4.2.
[[nodiscard]] json::Value to_key_object(const PublicKey& key);

/// The SHA-256, in hex, of a key object in its signing form. Spec: TUF 1.0.34 §4.2 KEYID.
[[nodiscard]] std::string key_id(const json::Value& key_object);

}  // namespace cfs::trust
