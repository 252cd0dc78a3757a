// SPDX-License-Identifier: Apache-2.0
#include "signer/signing/file_key.h"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <unistd.h>

#include <array>

#include "lib/base/atomic_file.h"
#include "lib/base/io.h"

namespace cfs::signer {
namespace {

using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;

std::string content_of(const Bio& bio) {
  char* data = nullptr;
  auto length = static_cast<size_t>(BIO_get_mem_data(bio.get(), &data));
  return std::string(data, length);
}

Result<> refuse_existing(int dir_fd, const std::string& path) {
  Result<struct stat> status = stat_at(dir_fd, path, AT_SYMLINK_NOFOLLOW);
  if (!status && status.error().code == ErrorCode::kNotFound) return {};
  if (!status) return std::move(status).error();
  return make_error(ErrorCode::kExists, fmt::format("'{}' exists", path))
      .with_hint("keys are never overwritten: choose another name");
}

// There is no passphrase: an encrypted key is refused instead of asking on the terminal.
int no_passphrase(char* /*buffer*/, int /*size*/, int /*write*/, void* /*data*/) { return -1; }

}  // namespace

Result<FileKey> FileKey::from_handle(Handle key, std::string path) {
  std::array<std::byte, 32> bytes{};
  size_t length = bytes.size();
  if (EVP_PKEY_get_raw_public_key(key.get(), reinterpret_cast<unsigned char*>(bytes.data()),
                                  &length) != 1 ||
      length != bytes.size()) {
    return make_error(ErrorCode::kInternal, "OpenSSL does not give the public key");
  }
  trust::PublicKey public_key = CFS_TRY(trust::PublicKey::from_ed25519(bytes));
  return FileKey(std::move(key), std::move(public_key), std::move(path));
}

Result<FileKey> FileKey::generate() {
  Handle key(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"), EVP_PKEY_free);
  if (key == nullptr) return make_error(ErrorCode::kInternal, "OpenSSL cannot make a key");
  return from_handle(std::move(key), "new key");
}

Result<FileKey> FileKey::load(int dir_fd, const std::string& path) {
  UniqueFd file = CFS_TRY(open_regular_at(dir_fd, path));
  struct stat status = CFS_TRY(fstat_fd(file.get()));
  if (status.st_uid != ::geteuid()) {
    return make_error(ErrorCode::kPermission,
                      fmt::format("the private key '{}' belongs to another user ({}), who knows it",
                                  path, status.st_uid))
        .with_hint("use keys of your own; make new ones with 'cfs-sign keygen --out FILE'");
  }
  if ((status.st_mode & 077) != 0) {
    return make_error(ErrorCode::kPermission,
                      fmt::format("the private key '{}' has mode {:04o}: it is open to others",
                                  path, status.st_mode & 07777))
        .with_hint(
            fmt::format("run 'chmod 600 {}'; if others may have read it, make a new key", path));
  }
  std::string text = CFS_TRY_WITH(fmt::format("reading '{}'", path), read_fd(file.get(), 16 << 10));
  Bio bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), BIO_free);
  Handle key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr), EVP_PKEY_free);
  if (key == nullptr || EVP_PKEY_get_id(key.get()) != EVP_PKEY_ED25519) {
    return make_error(
               ErrorCode::kInvalidInput,
               fmt::format("'{}' is not an unencrypted Ed25519 private key (PEM, PKCS#8)", path))
        .with_hint("make one with 'cfs-sign keygen --out FILE'");
  }
  return from_handle(std::move(key), path);
}

Result<> FileKey::save_new(int dir_fd, const std::string& path) const {
  CFS_TRY(refuse_existing(dir_fd, path));
  CFS_TRY(refuse_existing(dir_fd, path + ".pub"));
  Bio private_pem(BIO_new(BIO_s_secmem()), BIO_free);
  Bio public_pem(BIO_new(BIO_s_mem()), BIO_free);
  if (private_pem == nullptr || public_pem == nullptr ||
      PEM_write_bio_PKCS8PrivateKey(private_pem.get(), key_.get(), nullptr, nullptr, 0, nullptr,
                                    nullptr) != 1 ||
      PEM_write_bio_PUBKEY(public_pem.get(), key_.get()) != 1) {
    return make_error(ErrorCode::kInternal, "OpenSSL cannot write the key");
  }
  CFS_TRY(write_file_atomically(dir_fd, path, as_bytes(content_of(private_pem)), 0600,
                                Existing::kRefuse));
  return write_file_atomically(dir_fd, path + ".pub", as_bytes(content_of(public_pem)), 0644,
                               Existing::kRefuse);
}

Result<std::vector<std::byte>> FileKey::sign(Bytes message) const {
  std::vector<std::byte> signature(64);
  size_t length = signature.size();
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                  EVP_MD_CTX_free);
  if (context == nullptr ||
      EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key_.get()) != 1 ||
      EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &length,
                     reinterpret_cast<const unsigned char*>(message.data()), message.size()) != 1 ||
      length != signature.size()) {
    return make_error(ErrorCode::kInternal, "OpenSSL cannot sign");
  }
  return signature;
}

}  // namespace cfs::signer
