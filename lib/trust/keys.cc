// SPDX-License-Identifier: Apache-2.0
#include "lib/trust/keys.h"

#include <openssl/evp.h>

#include <memory>

#include "lib/base/hex.h"
#include "lib/verity/merkle.h"

namespace cfs::trust {
namespace {

const unsigned char* data_of(Bytes bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

}  // namespace

bool signature_is_valid(const PublicKey& key, Bytes message, const SignatureBytes& signature) {
  std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> public_key(
      EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, data_of(key.bytes), key.bytes.size()),
      EVP_PKEY_free);
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                  EVP_MD_CTX_free);
  return public_key != nullptr && context != nullptr &&
         EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, public_key.get()) == 1 &&
         EVP_DigestVerify(context.get(), data_of(signature), signature.size(), data_of(message),
                          message.size()) == 1;
}

json::Value to_key_object(const PublicKey& key) {
  return json::Value::Object{{"keytype", "ed25519"},
                             {"keyval", json::Value::Object{{"public", to_hex(key.bytes)}}},
                             {"scheme", "ed25519"}};
}

std::string key_id(const json::Value& key_object) {
  return verity::sha256(as_bytes(json::to_signing_form(key_object))).hex();
}

}  // namespace cfs::trust
