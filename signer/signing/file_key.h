// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <openssl/evp.h>

#include <memory>
#include <string>

#include "lib/base/result.h"
#include "lib/trust/keys.h"

namespace cfs::signer {

/// An Ed25519 private key in a file: PEM, PKCS#8 (RFC 8410), not encrypted.
class PrivateKey {
 public:
  [[nodiscard]] static Result<PrivateKey> generate();
  /// Errors: kNotFound; kPermission (others may read or write the file: not a secret any more);
  /// kInvalidInput (no such key, encrypted, other algorithm).
  [[nodiscard]] static Result<PrivateKey> load(int dir_fd, const std::string& path);

  /// Writes `path` (mode 0600) and the public key beside it (`path`.pub, PEM, mode 0644). Both
  /// appear whole; neither is ever overwritten. Errors: kExists.
  [[nodiscard]] Result<> save_new(int dir_fd, const std::string& path) const;

  [[nodiscard]] const trust::PublicKey& public_key() const { return public_key_; }
  [[nodiscard]] Result<trust::SignatureBytes> sign(Bytes message) const;

 private:
  using Handle = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
  explicit PrivateKey(Handle key) : key_(std::move(key)) {}
  static Result<PrivateKey> from_handle(Handle key);

  Handle key_;
  trust::PublicKey public_key_;
};

}  // namespace cfs::signer
