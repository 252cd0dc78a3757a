// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <openssl/types.h>

#include <memory>
#include <span>
#include <string>

#include "lib/base/bytes.h"
#include "lib/base/result.h"
#include "lib/json/reader.h"
#include "lib/json/value.h"

namespace cfs::trust {

/// A public key of TUF metadata: Ed25519 (`ed25519`), ECDSA on P-256 (`ecdsa-sha2-nistp256`) or RSA
/// of 2048 to 8192 bits (`rsassa-pss-sha256`). A value that never changes; thread-safe.
class PublicKey {
 public:
  /// Reads a key object. Errors: kUnsupported (a type or scheme that is none of the three, with its
  /// name); kCorrupt. Spec: TUF 1.0.34 §4.2. Trust: input is attacker-controlled.
  [[nodiscard]] static Result<PublicKey> parse(const json::Reader& object);

  /// The Ed25519 key of these bytes (RFC 8032). Errors: kInvalidInput.
  [[nodiscard]] static Result<PublicKey> from_ed25519(std::span<const std::byte, 32> bytes);

  /// The key object as it was read, members that we do not know included, or as we write it.
  [[nodiscard]] const json::Value& object() const { return object_; }

  /// The SHA-256, in hex, of the key object in its signing form. Spec: TUF 1.0.34 §4.2 KEYID.
  [[nodiscard]] const std::string& id() const { return id_; }

  /// Returns true if `signature` is this key's signature of `message`. The salt of RSA-PSS may have
  /// any length.
  [[nodiscard]] bool verifies(Bytes message, Bytes signature) const;

  /// Returns true for the same key, also under another id.
  [[nodiscard]] bool operator==(const PublicKey& other) const;

 private:
  using Handle = std::shared_ptr<EVP_PKEY>;
  PublicKey(json::Value object, Handle key);

  json::Value object_;
  std::string id_;
  Handle key_;
};

}  // namespace cfs::trust
