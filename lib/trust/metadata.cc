// SPDX-License-Identifier: Apache-2.0
#include "lib/trust/metadata.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/base/hex.h"

namespace cfs::trust {

using json::Reader;
using json::Value;

namespace {

constexpr size_t kMaxSignatures = 64;
constexpr size_t kMaxKeys = 256;
constexpr size_t kMaxKeysPerRole = 64;
constexpr size_t kMaxMetaFiles = 4096;
constexpr size_t kMaxTargets = 100'000;
constexpr size_t kMaxTextBytes = 4096;

// "_type", "spec_version", "version" and "expires". Spec: §4.3.
Result<CommonFields> parse_common(const json::Reader& reader, Role role) {
  json::Reader type = CFS_TRY(reader.member("_type"));
  if (CFS_TRY(type.text(kMaxTextBytes)) != role_name(role)) {
    return type.refuse(fmt::format("must be '{}'", role_name(role)));
  }
  json::Reader spec_version = CFS_TRY(reader.member("spec_version"));
  std::string spec = CFS_TRY(spec_version.text(32));
  if (!spec.starts_with("1.") || spec.find_first_not_of("0123456789.") != std::string::npos) {
    return make_error(ErrorCode::kUnsupported,
                      fmt::format("{}: this is not TUF 1.x metadata", role_file(role)));
  }
  CommonFields common;
  common.version = CFS_TRY(CFS_TRY(reader.member("version")).integer(1));
  json::Reader expires = CFS_TRY(reader.member("expires"));
  Result<UnixTime> time = parse_time(CFS_TRY(expires.text(kMaxTextBytes)));
  if (!time) return expires.refuse("must be a time like 2030-12-31T23:59:59Z");
  common.expires = *time;
  return common;
}

// SHA-256 of a "hashes" object; other algorithms beside it are ignored. Spec: §4.4 HASHES.
Result<verity::Sha256Digest> parse_hashes(const json::Reader& reader) {
  return CFS_TRY(reader.member("sha256")).sha256();
}

Result<FileMeta> parse_file_meta(const json::Reader& reader) {
  FileMeta meta;
  meta.version = CFS_TRY(CFS_TRY(reader.member("version")).integer(1));
  if (std::optional<json::Reader> length = CFS_TRY(reader.optional_member("length"))) {
    meta.length_bytes = CFS_TRY(length->integer(1));
  }
  if (std::optional<json::Reader> hashes = CFS_TRY(reader.optional_member("hashes"))) {
    meta.sha256 = CFS_TRY(parse_hashes(*hashes));
  }
  return meta;
}

// The key, or nothing when it is of a type that we cannot verify with.
Result<std::optional<PublicKey>> parse_key(const json::Reader& reader) {
  std::string type = CFS_TRY(CFS_TRY(reader.member("keytype")).text(kMaxTextBytes));
  std::string scheme = CFS_TRY(CFS_TRY(reader.member("scheme")).text(kMaxTextBytes));
  json::Reader keyval = CFS_TRY(reader.member("keyval"));
  if (type != "ed25519" || scheme != "ed25519") return std::optional<PublicKey>();
  json::Reader hex = CFS_TRY(keyval.member("public"));
  PublicKey key;
  if (!from_hex(CFS_TRY(hex.text(kMaxTextBytes)), key.bytes)) {
    return hex.refuse("must be 64 hex digits");
  }
  return std::optional<PublicKey>(key);
}

Result<RoleKeys> parse_role_keys(const json::Reader& reader) {
  RoleKeys role;
  for (const json::Reader& element :
       CFS_TRY(CFS_TRY(reader.member("keyids")).elements(kMaxKeysPerRole))) {
    if (!role.key_ids.insert(CFS_TRY(element.text(kMaxTextBytes))).second) {
      return element.refuse("occurs twice");
    }
  }
  // A threshold that its keys cannot reach would lock devices out.
  role.threshold = CFS_TRY(CFS_TRY(reader.member("threshold")).integer(1, role.key_ids.size()));
  return role;
}

// Names become file names: one component, nothing hidden, nothing that a URL must escape but '+'.
bool is_target_name(std::string_view name) {
  constexpr std::string_view kFirst =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
  auto is_allowed = [&](char c) {
    return kFirst.find(c) != std::string_view::npos ||
           std::string_view(".+~_-").find(c) != std::string_view::npos;
  };
  return !name.empty() && name.size() <= 180 && kFirst.find(name[0]) != std::string_view::npos &&
         std::ranges::all_of(name, is_allowed);
}

}  // namespace

std::string_view role_name(Role role) {
  switch (role) {
    case Role::kRoot:
      return "root";
    case Role::kTimestamp:
      return "timestamp";
    case Role::kSnapshot:
      return "snapshot";
    case Role::kTargets:
      return "targets";
  }
  return "";
}

std::string role_file(Role role) { return fmt::format("{}.json", role_name(role)); }

size_t max_size_bytes(Role role) {
  switch (role) {
    case Role::kRoot:
      return 512 << 10;
    case Role::kTimestamp:
      return 16 << 10;
    case Role::kSnapshot:
      return 2 << 20;
    case Role::kTargets:
      return 16 << 20;
  }
  return 0;
}

Result<SignedDocument> parse_document(Role role, std::string_view text) {
  json::Value json =
      CFS_TRY(json::parse(text, {.size_bytes = max_size_bytes(role)}, role_file(role)));
  json::Reader reader(json, role_file(role));
  SignedDocument document;
  document.role = role;
  for (const json::Reader& element :
       CFS_TRY(CFS_TRY(reader.member("signatures")).elements(kMaxSignatures))) {
    Signature signature;
    signature.key_id = CFS_TRY(CFS_TRY(element.member("keyid")).text(kMaxTextBytes));
    signature.hex = CFS_TRY(CFS_TRY(element.member("sig")).text(kMaxTextBytes));
    document.signatures.push_back(std::move(signature));
  }
  json::Reader content = CFS_TRY(reader.member("signed"));
  if (content.value().as<json::Value::Object>() == nullptr)
    return content.refuse("must be an object");
  document.content = std::move(json.as<json::Value::Object>()->at("signed"));
  return document;
}

Result<RootMetadata> parse_root(const SignedDocument& document) {
  json::Reader reader(document.content, role_file(Role::kRoot));
  RootMetadata root;
  static_cast<CommonFields&>(root) = CFS_TRY(parse_common(reader, Role::kRoot));
  if (!CFS_TRY(CFS_TRY(reader.member("consistent_snapshot")).boolean())) {
    return make_error(ErrorCode::kUnsupported,
                      "root.json: a repository without consistent snapshots");
  }
  for (const auto& [id, key_reader] : CFS_TRY(CFS_TRY(reader.member("keys")).members(kMaxKeys))) {
    std::optional<PublicKey> key = CFS_TRY(parse_key(key_reader));
    if (!key) continue;
    if (key_id(key_reader.value()) != id) return key_reader.refuse("is not named by its key id");
    root.keys.emplace(id, *key);
  }
  json::Reader roles = CFS_TRY(reader.member("roles"));
  for (Role role : kRoles) {
    json::Reader keys = CFS_TRY(roles.member(role_name(role)));
    root.roles.emplace(role, CFS_TRY(parse_role_keys(keys)));
  }
  return root;
}

Result<TimestampMetadata> parse_timestamp(const SignedDocument& document) {
  json::Reader reader(document.content, role_file(Role::kTimestamp));
  TimestampMetadata timestamp;
  static_cast<CommonFields&>(timestamp) = CFS_TRY(parse_common(reader, Role::kTimestamp));
  json::Reader meta = CFS_TRY(reader.member("meta"));
  json::Reader snapshot = CFS_TRY(meta.member(role_file(Role::kSnapshot)));
  timestamp.snapshot = CFS_TRY(parse_file_meta(snapshot));
  return timestamp;
}

Result<SnapshotMetadata> parse_snapshot(const SignedDocument& document) {
  json::Reader reader(document.content, role_file(Role::kSnapshot));
  SnapshotMetadata snapshot;
  static_cast<CommonFields&>(snapshot) = CFS_TRY(parse_common(reader, Role::kSnapshot));
  json::Reader meta = CFS_TRY(reader.member("meta"));
  for (const auto& [name, file] : CFS_TRY(meta.members(kMaxMetaFiles))) {
    snapshot.files.emplace(name, CFS_TRY(parse_file_meta(file)));
  }
  if (!snapshot.files.contains(role_file(Role::kTargets))) {
    return meta.refuse("does not have 'targets.json'");
  }
  return snapshot;
}

Result<TargetsMetadata> parse_targets(const SignedDocument& document) {
  json::Reader reader(document.content, role_file(Role::kTargets));
  TargetsMetadata targets;
  static_cast<CommonFields&>(targets) = CFS_TRY(parse_common(reader, Role::kTargets));
  for (const auto& [name, target] :
       CFS_TRY(CFS_TRY(reader.member("targets")).members(kMaxTargets))) {
    if (!is_target_name(name)) {
      return target.refuse("is no target name: [A-Za-z0-9][A-Za-z0-9.+~_-]{0,179}");
    }
    TargetEntry entry;
    entry.name = name;
    entry.size_bytes = CFS_TRY(CFS_TRY(target.member("length")).integer());
    entry.sha256 = CFS_TRY(parse_hashes(CFS_TRY(target.member("hashes"))));
    if (std::optional<json::Reader> custom = CFS_TRY(target.optional_member("custom"))) {
      entry.custom = custom->value();
    }
    targets.entries.emplace(name, std::move(entry));
  }
  return targets;
}

Result<> check_signatures(const RootMetadata& root, const SignedDocument& document) {
  const RoleKeys& role = root.roles.at(document.role);
  std::string message = json::to_signing_form(document.content);
  // Keys, not key ids: one key under two ids is still one key.
  std::set<PublicKey> signers;
  for (const Signature& signature : document.signatures) {
    auto key = root.keys.find(signature.key_id);
    if (key == root.keys.end() || !role.key_ids.contains(signature.key_id) ||
        signers.contains(key->second)) {
      continue;
    }
    SignatureBytes bytes;
    if (from_hex(signature.hex, bytes) &&
        signature_is_valid(key->second, as_bytes(message), bytes)) {
      signers.insert(key->second);
    }
  }
  if (signers.size() >= role.threshold) return {};
  return make_error(
      ErrorCode::kSignature,
      fmt::format("{}: valid signatures by {} of the {} trusted keys needed (root version {})",
                  role_file(document.role), signers.size(), role.threshold, root.version));
}

}  // namespace cfs::trust
