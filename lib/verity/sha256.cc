// SPDX-License-Identifier: Apache-2.0
#include "lib/verity/sha256.h"

#include <openssl/evp.h>

#include "lib/base/check.h"

namespace cfs::verity {
namespace {

/// The algorithm is fetched once, a context is kept for each thread: EVP_Digest with a looked-up
/// name costs more than the hashing of a 4 KiB block.
const EVP_MD* sha256_algorithm() {
  static const EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  CFS_CHECK(algorithm != nullptr);
  return algorithm;
}

struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using Context = std::unique_ptr<EVP_MD_CTX, FreeContext>;

Context make_context() {
  Context context(EVP_MD_CTX_new());
  CFS_CHECK(context != nullptr);
  return context;
}

void start(EVP_MD_CTX* context) {
  CFS_CHECK(EVP_DigestInit_ex(context, sha256_algorithm(), nullptr) == 1);
}

void add(EVP_MD_CTX* context, Bytes data) {
  CFS_CHECK(EVP_DigestUpdate(context, data.data(), data.size()) == 1);
}

Sha256Digest end(EVP_MD_CTX* context) {
  Sha256Digest digest;
  auto* out = reinterpret_cast<unsigned char*>(digest.mutable_bytes().data());
  CFS_CHECK(EVP_DigestFinal_ex(context, out, nullptr) == 1);
  return digest;
}

}  // namespace

struct Sha256Hasher::State {
  Context context = make_context();
};

Sha256Hasher::Sha256Hasher() : state_(std::make_unique<State>()) { start(state_->context.get()); }
Sha256Hasher::Sha256Hasher(Sha256Hasher&&) noexcept = default;
Sha256Hasher& Sha256Hasher::operator=(Sha256Hasher&&) noexcept = default;
Sha256Hasher::~Sha256Hasher() = default;

void Sha256Hasher::update(Bytes data) { add(state_->context.get(), data); }

Sha256Digest Sha256Hasher::finish() {
  Sha256Digest digest = end(state_->context.get());
  start(state_->context.get());
  return digest;
}

Sha256Digest sha256(Bytes data) {
  thread_local const Context context = make_context();
  start(context.get());
  add(context.get(), data);
  return end(context.get());
}

}  // namespace cfs::verity
