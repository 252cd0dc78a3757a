// SPDX-License-Identifier: Apache-2.0
#include "lib/trust/keys.h"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <array>
#include <optional>

#include "lib/base/hex.h"
#include "lib/json/canonical.h"
#include "lib/verity/merkle.h"

namespace cfs::trust {
namespace {

constexpr size_t kMaxTextBytes = 4096;
constexpr int kMinRsaBits = 2048;  // §4.2
constexpr int kMaxRsaBits = 8192;  // what a verification may cost

using Handle = std::shared_ptr<EVP_PKEY>;

const unsigned char* data_of(Bytes bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

Handle ed25519_handle(Bytes bytes) {
  return {EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, data_of(bytes), bytes.size()),
          EVP_PKEY_free};
}

// The key in a PEM block "PUBLIC KEY" (RFC 7468 §13), or null.
Handle handle_from_pem(std::string_view text) {
  std::unique_ptr<BIO, decltype(&BIO_free)> bio(
      BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), BIO_free);
  char* name = nullptr;
  char* header = nullptr;
  unsigned char* data = nullptr;
  long length = 0;
  if (bio == nullptr || PEM_read_bio(bio.get(), &name, &header, &data, &length) != 1) return {};
  Handle key;
  if (std::string_view(name) == PEM_STRING_PUBLIC && std::string_view(header).empty()) {
    const unsigned char* end = data;
    key = Handle(d2i_PUBKEY(nullptr, &end, length), EVP_PKEY_free);
    if (end != data + length) key.reset();
  }
  OPENSSL_free(name);
  OPENSSL_free(header);
  OPENSSL_free(data);
  return key;
}

bool is_p256(const EVP_PKEY* key) {
  std::array<char, 64> group{};
  return EVP_PKEY_get_id(key) == EVP_PKEY_EC &&
         EVP_PKEY_get_group_name(key, group.data(), group.size(), nullptr) == 1 &&
         std::string_view(group.data()) == "prime256v1";
}

bool is_usable_rsa(const EVP_PKEY* key) {
  const int bits = EVP_PKEY_get_bits(key);
  return EVP_PKEY_get_id(key) == EVP_PKEY_RSA && bits >= kMinRsaBits && bits <= kMaxRsaBits;
}

}  // namespace

PublicKey::PublicKey(json::Value object, Handle key)
    : object_(std::move(object)),
      id_(verity::sha256(as_bytes(json::to_signing_form(object_))).hex()),
      key_(std::move(key)) {}

Result<PublicKey> PublicKey::parse(const json::Reader& object) {
  const std::string type = CFS_TRY(CFS_TRY(object.member("keytype")).text(kMaxTextBytes));
  const std::string scheme = CFS_TRY(CFS_TRY(object.member("scheme")).text(kMaxTextBytes));
  json::Reader keyval = CFS_TRY(object.member("keyval"));
  auto is = [&](std::string_view known_type, std::string_view known_scheme) {
    return type == known_type && scheme == known_scheme;
  };
  const bool is_ed25519 = is("ed25519", "ed25519");
  const bool is_ecdsa = is("ecdsa", "ecdsa-sha2-nistp256");
  const bool is_rsa = is("rsa", "rsassa-pss-sha256");
  if (!is_ed25519 && !is_ecdsa && !is_rsa) {
    return make_error(ErrorCode::kUnsupported,
                      fmt::format("type '{}' with scheme '{}' is not known", type.substr(0, 64),
                                  scheme.substr(0, 64)));
  }
  json::Reader public_reader = CFS_TRY(keyval.member("public"));
  const std::string text = CFS_TRY(public_reader.text(kMaxTextBytes));
  Handle key;
  if (is_ed25519) {
    std::array<std::byte, 32> bytes{};
    if (from_hex(text, bytes)) key = ed25519_handle(bytes);
    if (key == nullptr) return public_reader.refuse("must be 64 hex digits");
  } else if (is_ecdsa) {
    key = handle_from_pem(text);
    if (key == nullptr || !is_p256(key.get())) {
      return public_reader.refuse("must be a public key of the curve P-256 (PEM)");
    }
  } else {
    key = handle_from_pem(text);
    if (key == nullptr || !is_usable_rsa(key.get())) {
      return public_reader.refuse("must be an RSA public key of 2048 to 8192 bits (PEM)");
    }
  }
  return PublicKey(object.value(), std::move(key));
}

Result<PublicKey> PublicKey::from_ed25519(std::span<const std::byte, 32> bytes) {
  Handle key = ed25519_handle(bytes);
  if (key == nullptr) return make_error(ErrorCode::kInvalidInput, "not an Ed25519 public key");
  json::Value object =
      json::Value::Object{{"keytype", "ed25519"},
                          {"keyval", json::Value::Object{{"public", to_hex(bytes)}}},
                          {"scheme", "ed25519"}};
  return PublicKey(std::move(object), std::move(key));
}

bool PublicKey::verifies(Bytes message, Bytes signature) const {
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                  EVP_MD_CTX_free);
  EVP_PKEY_CTX* parameters = nullptr;  // belongs to `context`
  const int type = EVP_PKEY_get_id(key_.get());
  const EVP_MD* digest = type == EVP_PKEY_ED25519 ? nullptr : EVP_sha256();
  if (context == nullptr ||
      EVP_DigestVerifyInit(context.get(), &parameters, digest, nullptr, key_.get()) != 1) {
    return false;
  }
  if (type == EVP_PKEY_RSA &&
      (EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING) != 1 ||
       EVP_PKEY_CTX_set_rsa_pss_saltlen(parameters, RSA_PSS_SALTLEN_AUTO) != 1)) {
    return false;
  }
  return EVP_DigestVerify(context.get(), data_of(signature), signature.size(), data_of(message),
                          message.size()) == 1;
}

bool PublicKey::operator==(const PublicKey& other) const {
  return EVP_PKEY_eq(key_.get(), other.key_.get()) == 1;
}

}  // namespace cfs::trust
