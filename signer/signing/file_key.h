// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <openssl/types.h>

#include <memory>
#include <string>

#include "lib/base/result.h"
#include "signer/signing/signer.h"

namespace cfs::signer {

/// An Ed25519 private key in a file: PEM, PKCS#8 (RFC 8410), not encrypted.
class FileKey : public Signer {
 public:
  /// A new key, which has no file yet.
  [[nodiscard]] static Result<FileKey> generate();
  /// Errors: kNotFound; kPermission (the file belongs to somebody else, or others may read or write
  /// it: it is not our secret); kInvalidInput (no such key, encrypted, other algorithm).
  [[nodiscard]] static Result<FileKey> load(int dir_fd, const std::string& path);

  /// Writes `path` (mode 0600) and the public key beside it (`path`.pub, PEM, mode 0644). Both
  /// appear whole; neither is ever overwritten. Errors: kExists.
  [[nodiscard]] Result<> save_new(int dir_fd, const std::string& path) const;

  [[nodiscard]] const std::string& name() const override { return path_; }
  [[nodiscard]] const trust::PublicKey& public_key() const override { return public_key_; }
  [[nodiscard]] Result<std::vector<std::byte>> sign(Bytes message) const override;

 private:
  using Handle = std::shared_ptr<EVP_PKEY>;
  FileKey(Handle key, trust::PublicKey public_key, std::string path)
      : key_(std::move(key)), public_key_(std::move(public_key)), path_(std::move(path)) {}
  static Result<FileKey> from_handle(Handle key, std::string path);

  Handle key_;
  trust::PublicKey public_key_;
  std::string path_;
};

}  // namespace cfs::signer
