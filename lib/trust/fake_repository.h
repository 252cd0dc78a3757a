// SPDX-License-Identifier: Apache-2.0
// A TUF repository in memory, for tests: keys from seeds, metadata signed by whoever the test says,
// every file open to change. Not part of any program.
#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/check.h"
#include "lib/base/hex.h"
#include "lib/base/time.h"
#include "lib/json/reader.h"
#include "lib/json/value.h"
#include "lib/release/layout.h"
#include "lib/trust/client.h"
#include "lib/trust/keys.h"
#include "lib/trust/metadata.h"
#include "lib/verity/merkle.h"

namespace cfs::trust {

/// A key pair: Ed25519 made from a number, or a new one that OpenSSL calls "EC" (P-256) or "RSA".
class FakeKey {
 public:
  explicit FakeKey(uint8_t seed) : FakeKey(make_ed25519(seed), make_public_ed25519(seed)) {}
  static FakeKey generate_ecdsa() {
    return FakeKey::from_pem(EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256"), "ecdsa",
                             "ecdsa-sha2-nistp256");
  }
  static FakeKey generate_rsa(size_t bits = 2048) {
    return FakeKey::from_pem(EVP_PKEY_Q_keygen(nullptr, nullptr, "RSA", bits), "rsa",
                             "rsassa-pss-sha256");
  }
  [[nodiscard]] const json::Value& object() const { return public_key_.object(); }
  [[nodiscard]] const std::string& id() const { return public_key_.id(); }
  [[nodiscard]] const PublicKey& public_key() const { return public_key_; }
  [[nodiscard]] std::vector<std::byte> sign(std::string_view message) const {
    std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                    EVP_MD_CTX_free);
    EVP_PKEY_CTX* parameters = nullptr;
    const int type = EVP_PKEY_get_id(key_.get());
    CFS_CHECK(EVP_DigestSignInit(context.get(), &parameters,
                                 type == EVP_PKEY_ED25519 ? nullptr : EVP_sha256(), nullptr,
                                 key_.get()) == 1);
    if (type == EVP_PKEY_RSA) {
      CFS_CHECK(EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING) == 1);
    }
    std::vector<std::byte> signature(2048);
    size_t length = signature.size();
    CFS_CHECK(EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()),
                             &length, reinterpret_cast<const unsigned char*>(message.data()),
                             message.size()) == 1);
    signature.resize(length);
    return signature;
  }

 private:
  FakeKey(std::shared_ptr<EVP_PKEY> key, PublicKey public_key)
      : key_(std::move(key)), public_key_(std::move(public_key)) {
    CFS_CHECK(key_ != nullptr);
  }
  static std::shared_ptr<EVP_PKEY> make_ed25519(uint8_t seed) {
    std::array<unsigned char, 32> raw{};
    raw.fill(seed);
    return {EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, raw.data(), raw.size()),
            EVP_PKEY_free};
  }
  static PublicKey make_public_ed25519(uint8_t seed) {
    std::array<std::byte, 32> bytes{};
    size_t length = bytes.size();
    CFS_CHECK(EVP_PKEY_get_raw_public_key(make_ed25519(seed).get(),
                                          reinterpret_cast<unsigned char*>(bytes.data()),
                                          &length) == 1);
    return *PublicKey::from_ed25519(bytes);
  }
  static FakeKey from_pem(EVP_PKEY* generated, const char* type, const char* scheme) {
    std::shared_ptr<EVP_PKEY> key(generated, EVP_PKEY_free);
    std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new(BIO_s_mem()), BIO_free);
    CFS_CHECK(key != nullptr && PEM_write_bio_PUBKEY(bio.get(), key.get()) == 1);
    char* data = nullptr;
    auto length = static_cast<size_t>(BIO_get_mem_data(bio.get(), &data));
    json::Value object =
        json::Value::Object{{"keytype", type},
                            {"keyval", json::Value::Object{{"public", std::string(data, length)}}},
                            {"scheme", scheme}};
    return {std::move(key), PublicKey::parse(json::Reader(object, "key")).value()};
  }

  std::shared_ptr<EVP_PKEY> key_;
  PublicKey public_key_;
};

/// Roles in memory; publish_*() write files from them.
class FakeRepository {
 public:
  static constexpr UnixTime kNow = 1'800'000'000;

  struct RoleState {
    std::vector<FakeKey> keys;
    uint64_t threshold = 1;
    uint64_t version = 1;
    UnixTime expires = kNow + 86400;
  };

  FakeRepository() {
    uint8_t seed = 1;
    for (const char* name : {"root", "timestamp", "snapshot", "targets"}) {
      roles[name].keys.emplace_back(seed++);
    }
    publish();
  }

  /// Writes all four files with the versions and keys that `roles` has now.
  void publish() {
    publish_root();
    publish_targets();
    publish_snapshot();
    publish_timestamp();
  }
  /// `more`: signers besides the root role's present keys (the ones before a rotation).
  void publish_root(const std::vector<FakeKey>& more = {}) {
    std::vector<FakeKey> signers = roles["root"].keys;
    signers.insert(signers.end(), more.begin(), more.end());
    files[release::metadata_path("root", roles["root"].version)] = sign(root_content(), signers);
  }
  void publish_targets() {
    json::Value::Object content = common("targets");
    content["targets"] = targets;
    if (!delegations.is_null()) content["delegations"] = delegations;
    write("targets", std::move(content));
  }
  void publish_snapshot() {
    SnapshotMetadata snapshot{common_fields("snapshot"), delegated};
    snapshot.files["targets.json"] = meta("targets");
    write("snapshot", to_json(snapshot));
  }
  void publish_timestamp() {
    TimestampMetadata timestamp{common_fields("timestamp"), meta("snapshot")};
    files[std::string(release::kTimestampPath)] = sign(to_json(timestamp), roles["timestamp"].keys);
  }
  /// New versions of targets, snapshot and timestamp.
  void publish_next() {
    for (const char* name : {"targets", "snapshot", "timestamp"}) ++roles[name].version;
    publish_targets();
    publish_snapshot();
    publish_timestamp();
  }

  [[nodiscard]] json::Value::Object root_content() {
    RootMetadata root{common_fields("root"), {}, {}};
    for (Role role : kRoles) {
      const RoleState& state = roles[std::string(role_name(role))];
      RoleKeys& role_keys = root.roles[role];
      role_keys.threshold = state.threshold;
      for (const FakeKey& key : state.keys) {
        root.keys.emplace(key.id(), key.public_key());
        role_keys.key_ids.insert(key.id());
      }
    }
    return to_json(root);
  }
  /// The content of metadata that names no files yet.
  [[nodiscard]] json::Value::Object common(const std::string& name) {
    if (name == "targets") return to_json(TargetsMetadata{common_fields(name), {}, {}, {}});
    return to_json(SnapshotMetadata{common_fields(name), {}});
  }
  /// By all of `signers`, who may sign several times.
  [[nodiscard]] static std::string sign(const json::Value& content,
                                        const std::vector<FakeKey>& signers) {
    SignedDocument document{.signatures = {}, .content = content};
    const std::string message = signing_form(document);
    for (const FakeKey& key : signers) {
      document.signatures.push_back({key.id(), to_hex(key.sign(message))});
    }
    return serialise_document(document);
  }
  void write(const std::string& name, const json::Value& content) {
    files[release::metadata_path(name, roles[name].version)] = sign(content, roles[name].keys);
  }
  /// The words of another role about the file of `name`.
  [[nodiscard]] FileMeta meta(const std::string& name) {
    const uint64_t version = roles[name].version;
    if (!hashes_in_meta) return {.version = version};
    return describe_file(version, files[release::metadata_path(name, version)]);
  }
  /// Adds a file and its target entry; takes effect with the next publish_targets().
  void add_target(const std::string& name, const std::string& content,
                  const json::Value& custom = {}) {
    TargetEntry entry{name, content.size(), verity::sha256(as_bytes(content)), custom};
    files[entry.path()] = content;
    targets[name] = to_json(entry);
  }

  /// Serves `files` and notes what was asked for.
  [[nodiscard]] Fetch fetch() {
    return [this](const std::string& path, size_t limit_bytes) -> Result<Unverified<std::string>> {
      fetched.push_back(path);
      auto found = files.find(path);
      if (found == files.end()) return make_error(ErrorCode::kNotFound, "no file '" + path + "'");
      if (found->second.size() > limit_bytes) {
        return make_error(ErrorCode::kNetwork, "'" + path + "' is longer than allowed");
      }
      return Unverified(found->second);
    };
  }

  std::map<std::string, RoleState> roles;
  json::Value::Object targets;
  json::Value delegations;                    ///< of targets
  std::map<std::string, FileMeta> delegated;  ///< what snapshot says besides targets.json
  std::map<std::string, std::string> files;
  std::vector<std::string> fetched;
  bool hashes_in_meta = true;

 private:
  [[nodiscard]] CommonFields common_fields(const std::string& name) {
    return {.version = roles[name].version, .expires = roles[name].expires};
  }
};

/// A store that can stop working, as in a power cut.
class FakeMetadataStore : public MetadataInMemory {
 public:
  [[nodiscard]] Result<> save(std::string_view name, std::string_view content) override {
    CFS_TRY(count());
    return MetadataInMemory::save(name, content);
  }
  [[nodiscard]] Result<> remove(std::string_view name) override {
    CFS_TRY(count());
    return MetadataInMemory::remove(name);
  }

  int changes_until_failure = -1;  ///< this many more changes work; -1: all

 private:
  Result<> count() {
    if (changes_until_failure == 0) return make_error(ErrorCode::kIo, "power cut");
    if (changes_until_failure > 0) --changes_until_failure;
    return {};
  }
};

}  // namespace cfs::trust
