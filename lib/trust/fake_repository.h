// SPDX-License-Identifier: Apache-2.0
// A TUF repository in memory, for tests: keys from seeds, metadata signed by whoever the test says,
// every file open to change. Not part of any program.
#pragma once

#include <openssl/evp.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/check.h"
#include "lib/base/hex.h"
#include "lib/base/time.h"
#include "lib/json/json.h"
#include "lib/release/layout.h"
#include "lib/trust/client.h"
#include "lib/trust/keys.h"
#include "lib/verity/merkle.h"

namespace cfs::trust {

/// A key pair made from a number.
class FakeKey {
 public:
  explicit FakeKey(uint8_t seed) {
    std::array<unsigned char, 32> raw{};
    raw.fill(seed);
    key_.reset(EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, raw.data(), raw.size()),
               EVP_PKEY_free);
    CFS_CHECK(key_ != nullptr);
    size_t length = public_key_.bytes.size();
    CFS_CHECK(
        EVP_PKEY_get_raw_public_key(
            key_.get(), reinterpret_cast<unsigned char*>(public_key_.bytes.data()), &length) == 1);
  }
  [[nodiscard]] json::Value object() const { return to_key_object(public_key_); }
  [[nodiscard]] std::string id() const { return key_id(object()); }
  [[nodiscard]] const PublicKey& public_key() const { return public_key_; }
  [[nodiscard]] SignatureBytes sign(std::string_view message) const {
    SignatureBytes signature;
    size_t length = signature.size();
    std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                    EVP_MD_CTX_free);
    CFS_CHECK(EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key_.get()) == 1);
    CFS_CHECK(EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()),
                             &length, reinterpret_cast<const unsigned char*>(message.data()),
                             message.size()) == 1);
    return signature;
  }

 private:
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
    write("targets", std::move(content));
  }
  void publish_snapshot() {
    json::Value::Object content = common("snapshot");
    content["meta"] = json::Value::Object{{"targets.json", meta("targets")}};
    write("snapshot", std::move(content));
  }
  void publish_timestamp() {
    json::Value::Object content = common("timestamp");
    content["meta"] = json::Value::Object{{"snapshot.json", meta("snapshot")}};
    files[std::string(release::kTimestampPath)] = sign(content, roles["timestamp"].keys);
  }
  /// New versions of targets, snapshot and timestamp.
  void publish_next() {
    for (const char* name : {"targets", "snapshot", "timestamp"}) ++roles[name].version;
    publish_targets();
    publish_snapshot();
    publish_timestamp();
  }

  [[nodiscard]] json::Value::Object root_content() {
    json::Value::Object content = common("root");
    content["consistent_snapshot"] = true;
    json::Value::Object keys;
    json::Value::Object role_objects;
    for (const auto& [name, role] : roles) {
      json::Value::Array ids;
      for (const FakeKey& key : role.keys) {
        keys[key.id()] = key.object();
        ids.emplace_back(key.id());
      }
      role_objects[name] =
          json::Value::Object{{"keyids", std::move(ids)}, {"threshold", role.threshold}};
    }
    content["keys"] = std::move(keys);
    content["roles"] = std::move(role_objects);
    return content;
  }
  [[nodiscard]] json::Value::Object common(const std::string& name) {
    return {{"_type", name},
            {"spec_version", "1.0.34"},
            {"version", roles[name].version},
            {"expires", format_time(roles[name].expires)}};
  }
  [[nodiscard]] static std::string sign(const json::Value& content,
                                        const std::vector<FakeKey>& signers) {
    json::Value::Array signatures;
    for (const FakeKey& key : signers) {
      signatures.emplace_back(json::Value::Object{
          {"keyid", key.id()}, {"sig", to_hex(key.sign(json::to_signing_form(content)))}});
    }
    return json::to_canonical(
        json::Value::Object{{"signatures", std::move(signatures)}, {"signed", content}});
  }
  void write(const std::string& name, const json::Value& content) {
    files[release::metadata_path(name, roles[name].version)] = sign(content, roles[name].keys);
  }
  /// The entry for the file of `name` in the metadata of another role.
  [[nodiscard]] json::Value meta(const std::string& name) {
    json::Value::Object object{{"version", roles[name].version}};
    if (hashes_in_meta) {
      const std::string& file = files[release::metadata_path(name, roles[name].version)];
      object["length"] = uint64_t{file.size()};
      object["hashes"] = json::Value::Object{{"sha256", verity::sha256(as_bytes(file)).hex()}};
    }
    return object;
  }
  /// Adds a file and its target entry; takes effect with the next publish_targets().
  void add_target(const std::string& name, const std::string& content,
                  const json::Value& custom = {}) {
    verity::Sha256Digest sha256 = verity::sha256(as_bytes(content));
    files[release::target_path(sha256, name)] = content;
    json::Value::Object entry{{"length", uint64_t{content.size()}},
                              {"hashes", json::Value::Object{{"sha256", sha256.hex()}}}};
    if (!custom.is_null()) entry["custom"] = custom;
    targets[name] = std::move(entry);
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
  std::map<std::string, std::string> files;
  std::vector<std::string> fetched;
  bool hashes_in_meta = true;
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
