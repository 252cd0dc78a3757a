// SPDX-License-Identifier: Apache-2.0
#include "lib/trust/metadata.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/base/hex.h"
#include "lib/json/canonical.h"
#include "lib/json/reader.h"
#include "lib/release/layout.h"
#include "lib/verity/merkle.h"

namespace cfs::trust {

using json::Reader;
using json::Value;

namespace {

constexpr std::string_view kSpecVersion = "1.0.34";
constexpr size_t kMaxSignatures = 64;
constexpr size_t kMaxKeys = 256;
constexpr size_t kMaxKeysPerRole = 64;
constexpr size_t kMaxMetaFiles = 4096;
constexpr size_t kMaxTargets = 100'000;
constexpr size_t kMaxTextBytes = 4096;
constexpr size_t kMaxTargetNameBytes = 180;
constexpr size_t kMaxRoleNameBytes = 64;
constexpr size_t kMaxDelegations = 1024;
constexpr size_t kMaxPatterns = 4096;

// "_type", "spec_version", "version" and "expires". Spec: §4.3.
Result<CommonFields> parse_common(const Reader& reader, Role role) {
  Reader type = CFS_TRY(reader.member("_type"));
  if (CFS_TRY(type.text(kMaxTextBytes)) != role_name(role)) {
    return type.refuse(fmt::format("must be '{}'", role_name(role)));
  }
  Reader spec_version = CFS_TRY(reader.member("spec_version"));
  std::string spec = CFS_TRY(spec_version.text(32));
  if (!spec.starts_with("1.") || spec.find_first_not_of("0123456789.") != std::string::npos) {
    return make_error(ErrorCode::kUnsupported, spec_version.refuse("is not TUF 1.x").message);
  }
  CommonFields common;
  common.version = CFS_TRY(CFS_TRY(reader.member("version")).integer(1));
  Reader expires = CFS_TRY(reader.member("expires"));
  Result<UnixTime> time = parse_time(CFS_TRY(expires.text(kMaxTextBytes)));
  if (!time) return expires.refuse("must be a time like 2030-12-31T23:59:59Z");
  common.expires = *time;
  return common;
}

Value::Object common_to_json(Role role, const CommonFields& common) {
  return {{"_type", role_name(role)},
          {"spec_version", kSpecVersion},
          {"version", common.version},
          {"expires", format_time(common.expires)}};
}

Value::Object hashes_to_json(const FileHash& hash) {
  return {{std::string(hash.algorithm()), hash.hex()}};
}

// One hash of a "hashes" object: SHA-256, or where there is none SHA-512. Others are ignored.
// Spec: §4.4 HASHES.
Result<FileHash> parse_hashes(const Reader& reader) {
  std::optional<Reader> sha256 = CFS_TRY(reader.optional_member("sha256"));
  std::optional<Reader> sha512 = CFS_TRY(reader.optional_member("sha512"));
  if (sha256 || !sha512) return FileHash(CFS_TRY(CFS_TRY(reader.member("sha256")).sha256()));
  const std::string text = CFS_TRY(sha512->text(kMaxTextBytes));
  std::optional<verity::Sha512Digest> digest = verity::Sha512Digest::parse(text);
  if (!digest || digest->hex() != text) return sha512->refuse("must be 128 lower-case hex digits");
  return FileHash(*digest);
}

Result<FileMeta> parse_file_meta(const Reader& reader) {
  FileMeta meta;
  meta.version = CFS_TRY(CFS_TRY(reader.member("version")).integer(1));
  if (std::optional<Reader> length = CFS_TRY(reader.optional_member("length"))) {
    meta.length_bytes = CFS_TRY(length->integer(1));
  }
  if (std::optional<Reader> hashes = CFS_TRY(reader.optional_member("hashes"))) {
    meta.hash = CFS_TRY(parse_hashes(*hashes));
  }
  return meta;
}

Result<PublicKey> parse_named_key(const std::string& id, const Reader& reader) {
  PublicKey key = CFS_TRY(PublicKey::parse(reader));
  if (key.id() != id) return reader.refuse("is not named by its key id");
  return key;
}

Result<KeySet> parse_keys(const Reader& reader) {
  KeySet set;
  for (const auto& [id, key_reader] : CFS_TRY(reader.members(kMaxKeys))) {
    Result<PublicKey> key = parse_named_key(id, key_reader);
    if (key) {
      set.keys.emplace(id, std::move(*key));
    } else {
      set.unusable_keys[id] = {key_reader.value(), key.error().message};
    }
  }
  return set;
}

Result<RoleKeys> parse_role_keys(const Reader& reader) {
  RoleKeys role;
  for (const Reader& element :
       CFS_TRY(CFS_TRY(reader.member("keyids")).elements(kMaxKeysPerRole))) {
    role.key_ids.insert(CFS_TRY(element.text(kMaxTextBytes)));
  }
  role.threshold = CFS_TRY(CFS_TRY(reader.member("threshold")).integer(1));
  return role;
}

// `*` is any number of bytes and `?` one byte, neither of them '/'. The last `*` alone is gone back
// to: those before it have matched as little as they can, and no component reaches into the next.
bool matches_pattern(std::string_view pattern, std::string_view text) {
  constexpr size_t kNone = std::string_view::npos;
  size_t at = 0;
  size_t star = kNone;  // in `pattern`; what it stands for ends at `star_end` in `text`
  size_t star_end = 0;
  for (size_t i = 0; i < text.size();) {
    if (at < pattern.size() && pattern[at] == '*') {
      star = at++;
      star_end = i;
    } else if (at < pattern.size() &&
               (pattern[at] == text[i] || (pattern[at] == '?' && text[i] != '/'))) {
      ++at;
      ++i;
    } else if (star != kNone && text[star_end] != '/') {
      at = star + 1;
      i = ++star_end;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', at) == kNone;
}

Result<std::vector<std::string>> parse_texts(const Reader& reader) {
  std::vector<std::string> texts;
  for (const Reader& element : CFS_TRY(reader.elements(kMaxPatterns))) {
    texts.push_back(CFS_TRY(element.text(kMaxTextBytes)));
  }
  return texts;
}

Result<Delegation> parse_delegation(const Reader& reader) {
  Delegation delegation;
  Reader name = CFS_TRY(reader.member("name"));
  delegation.role = CFS_TRY(name.text(kMaxRoleNameBytes));
  // Their files have these names.
  if (delegation.role.empty() || delegation.role == kInitialRootName ||
      std::ranges::find(kRoles, delegation.role, role_name) != kRoles.end()) {
    return name.refuse("cannot be delegated to");
  }
  delegation.keys = CFS_TRY(parse_role_keys(reader));
  delegation.terminating = CFS_TRY(CFS_TRY(reader.member("terminating")).boolean());
  std::optional<Reader> paths = CFS_TRY(reader.optional_member("paths"));
  std::optional<Reader> prefixes = CFS_TRY(reader.optional_member("path_hash_prefixes"));
  if (paths.has_value() == prefixes.has_value()) {
    return reader.refuse("must have one of 'paths' and 'path_hash_prefixes'");
  }
  if (paths) delegation.paths = CFS_TRY(parse_texts(*paths));
  if (prefixes) delegation.path_hash_prefixes = CFS_TRY(parse_texts(*prefixes));
  return delegation;
}

// Names become paths of files and of URLs: no component is hidden, nothing must be escaped but '+'.
bool is_target_name(std::string_view name) {
  constexpr std::string_view kFirst =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
  bool first = true;
  for (char c : name) {
    const bool good = kFirst.find(c) != std::string_view::npos ||
                      (!first && std::string_view(".+~_-/").find(c) != std::string_view::npos);
    if (!good) return false;
    first = c == '/';
  }
  return !first && name.size() <= kMaxTargetNameBytes;
}

Result<TargetEntry> parse_target(const std::string& name, const Reader& reader) {
  if (!is_target_name(name)) {
    return reader.refuse("is no target name: [A-Za-z0-9][A-Za-z0-9.+~_-]*, with '/' between such");
  }
  TargetEntry entry;
  entry.name = name;
  entry.size_bytes = CFS_TRY(CFS_TRY(reader.member("length")).integer());
  entry.hash = CFS_TRY(parse_hashes(CFS_TRY(reader.member("hashes"))));
  if (std::optional<Reader> custom = CFS_TRY(reader.optional_member("custom"))) {
    entry.custom = custom->value();
  }
  return entry;
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

namespace {

Result<SignedDocument> parse_document(SignedDocument document, std::string_view text) {
  Value json =
      CFS_TRY(json::parse(text, {.size_bytes = max_size_bytes(document.role)}, document.name));
  Reader reader(json, document.name);
  Reader signatures = CFS_TRY(reader.member("signatures"));
  std::set<std::string> key_ids;
  for (const Reader& element : CFS_TRY(signatures.elements(kMaxSignatures))) {
    Signature signature;
    Reader key_id = CFS_TRY(element.member("keyid"));
    signature.key_id = CFS_TRY(key_id.text(kMaxTextBytes));
    signature.hex = CFS_TRY(CFS_TRY(element.member("sig")).text(kMaxTextBytes));
    // Spec: §4.2, "multiple signatures with the same keyid are not allowed".
    if (!key_ids.insert(signature.key_id).second) return key_id.refuse("has signed already");
    document.signatures.push_back(std::move(signature));
  }
  Reader content = CFS_TRY(reader.member("signed"));
  if (content.value().as<Value::Object>() == nullptr) return content.refuse("must be an object");
  document.content = std::move(json.as<Value::Object>()->at("signed"));
  return document;
}

}  // namespace

Result<SignedDocument> parse_document(Role role, std::string_view text) {
  return parse_document(
      SignedDocument{.role = role, .name = role_file(role), .signatures = {}, .content = {}}, text);
}

Result<SignedDocument> parse_delegated_document(std::string name, std::string_view text) {
  return parse_document(
      SignedDocument{
          .role = Role::kTargets, .name = std::move(name), .signatures = {}, .content = {}},
      text);
}

Result<CommonFields> parse_common(const SignedDocument& document) {
  return parse_common(Reader(document.content, document.name), document.role);
}

Result<RootMetadata> parse_root(const SignedDocument& document) {
  Reader reader(document.content, role_file(Role::kRoot));
  RootMetadata root;
  static_cast<CommonFields&>(root) = CFS_TRY(parse_common(reader, Role::kRoot));
  std::optional<Reader> consistent = CFS_TRY(reader.optional_member("consistent_snapshot"));
  if (!consistent || !CFS_TRY(consistent->boolean())) {
    return make_error(ErrorCode::kUnsupported,
                      "root.json: a repository without consistent snapshots");
  }
  static_cast<KeySet&>(root) = CFS_TRY(parse_keys(CFS_TRY(reader.member("keys"))));
  Reader roles = CFS_TRY(reader.member("roles"));
  for (Role role : kRoles) {
    Reader keys = CFS_TRY(roles.member(role_name(role)));
    root.roles.emplace(role, CFS_TRY(parse_role_keys(keys)));
  }
  return root;
}

Result<TimestampMetadata> parse_timestamp(const SignedDocument& document) {
  Reader reader(document.content, role_file(Role::kTimestamp));
  TimestampMetadata timestamp;
  static_cast<CommonFields&>(timestamp) = CFS_TRY(parse_common(reader, Role::kTimestamp));
  Reader meta = CFS_TRY(reader.member("meta"));
  Reader snapshot = CFS_TRY(meta.member(role_file(Role::kSnapshot)));
  timestamp.snapshot = CFS_TRY(parse_file_meta(snapshot));
  return timestamp;
}

Result<SnapshotMetadata> parse_snapshot(const SignedDocument& document) {
  Reader reader(document.content, role_file(Role::kSnapshot));
  SnapshotMetadata snapshot;
  static_cast<CommonFields&>(snapshot) = CFS_TRY(parse_common(reader, Role::kSnapshot));
  Reader meta = CFS_TRY(reader.member("meta"));
  for (const auto& [name, file] : CFS_TRY(meta.members(kMaxMetaFiles))) {
    snapshot.files.emplace(name, CFS_TRY(parse_file_meta(file)));
  }
  if (!snapshot.files.contains(role_file(Role::kTargets))) {
    return meta.refuse("does not have 'targets.json'");
  }
  return snapshot;
}

Result<TargetsMetadata> parse_targets(const SignedDocument& document) {
  Reader reader(document.content, document.name);
  TargetsMetadata targets;
  static_cast<CommonFields&>(targets) = CFS_TRY(parse_common(reader, Role::kTargets));
  for (const auto& [name, target] :
       CFS_TRY(CFS_TRY(reader.member("targets")).members(kMaxTargets))) {
    Result<TargetEntry> entry = parse_target(name, target);
    if (entry) {
      targets.entries.emplace(name, std::move(*entry));
    } else {
      targets.unusable_entries[name] = {target.value(), entry.error().message};
    }
  }
  if (std::optional<Reader> delegations = CFS_TRY(reader.optional_member("delegations"))) {
    targets.delegations = delegations->value();
  }
  return targets;
}

Result<Delegations> parse_delegations(const Value& delegations, const std::string& name) {
  Reader reader(delegations, fmt::format("delegations of {}", name));
  Delegations result;
  static_cast<KeySet&>(result) = CFS_TRY(parse_keys(CFS_TRY(reader.member("keys"))));
  std::set<std::string> names;
  for (const Reader& element : CFS_TRY(CFS_TRY(reader.member("roles")).elements(kMaxDelegations))) {
    result.roles.push_back(CFS_TRY(parse_delegation(element)));
    if (!names.insert(result.roles.back().role).second) return element.refuse("occurs twice");
  }
  return result;
}

std::string TargetEntry::path() const { return release::target_path(hash.hex(), name); }

bool Delegation::covers(std::string_view target) const {
  const std::string hash = verity::sha256(as_bytes(target)).hex();
  return std::ranges::any_of(
             paths, [&](const std::string& path) { return matches_pattern(path, target); }) ||
         std::ranges::any_of(path_hash_prefixes,
                             [&](const std::string& prefix) { return hash.starts_with(prefix); });
}

Value::Object to_json(const RootMetadata& root) {
  Value::Object content = common_to_json(Role::kRoot, root);
  content["consistent_snapshot"] = true;
  Value::Object keys;
  for (const auto& [id, key] : root.keys) keys[id] = key.object();
  for (const auto& [id, key] : root.unusable_keys) keys[id] = key.object;
  content["keys"] = std::move(keys);
  Value::Object roles;
  for (const auto& [role, role_keys] : root.roles) {
    Value::Array ids(role_keys.key_ids.begin(), role_keys.key_ids.end());
    roles[std::string(role_name(role))] =
        Value::Object{{"keyids", std::move(ids)}, {"threshold", role_keys.threshold}};
  }
  content["roles"] = std::move(roles);
  return content;
}

Value::Object to_json(const TimestampMetadata& timestamp) {
  Value::Object content = common_to_json(Role::kTimestamp, timestamp);
  content["meta"] = Value::Object{{role_file(Role::kSnapshot), to_json(timestamp.snapshot)}};
  return content;
}

Value::Object to_json(const SnapshotMetadata& snapshot) {
  Value::Object content = common_to_json(Role::kSnapshot, snapshot);
  Value::Object meta;
  for (const auto& [name, file] : snapshot.files) meta[name] = to_json(file);
  content["meta"] = std::move(meta);
  return content;
}

Value::Object to_json(const TargetsMetadata& targets) {
  Value::Object content = common_to_json(Role::kTargets, targets);
  Value::Object entries;
  for (const auto& [name, entry] : targets.entries) entries[name] = to_json(entry);
  for (const auto& [name, entry] : targets.unusable_entries) entries[name] = entry.object;
  content["targets"] = std::move(entries);
  if (!targets.delegations.is_null()) content["delegations"] = targets.delegations;
  return content;
}

Value::Object to_json(const FileMeta& meta) {
  Value::Object object{{"version", meta.version}};
  if (meta.length_bytes) object["length"] = *meta.length_bytes;
  if (meta.hash) object["hashes"] = hashes_to_json(*meta.hash);
  return object;
}

Value::Object to_json(const TargetEntry& entry) {
  Value::Object object{{"length", entry.size_bytes}, {"hashes", hashes_to_json(entry.hash)}};
  if (!entry.custom.is_null()) object["custom"] = entry.custom;
  return object;
}

void set_version(Value& content, const CommonFields& common) {
  Value::Object& object = *content.as<Value::Object>();
  object["version"] = common.version;
  object["expires"] = format_time(common.expires);
}

void set_target(Value& content, const TargetEntry& entry) {
  Value& targets = (*content.as<Value::Object>())["targets"];
  (*targets.as<Value::Object>())[entry.name] = to_json(entry);
}

std::string signing_form(const SignedDocument& document) {
  return json::to_signing_form(document.content);
}

std::string serialise_document(const SignedDocument& document) {
  Value::Array signatures;
  for (const Signature& signature : document.signatures) {
    signatures.emplace_back(Value::Object{{"keyid", signature.key_id}, {"sig", signature.hex}});
  }
  return json::to_canonical(
             Value::Object{{"signatures", std::move(signatures)}, {"signed", document.content}}) +
         "\n";
}

FileMeta describe_file(uint64_t version, std::string_view text) {
  return {.version = version, .length_bytes = text.size(), .hash = verity::sha256(as_bytes(text))};
}

Result<> check_signatures(const KeySet& keys, const RoleKeys& role, const SignedDocument& document,
                          const std::string& whose) {
  const std::string message = signing_form(document);
  // Keys, not key ids: one key under two ids is still one key.
  std::vector<const PublicKey*> signers;
  for (const Signature& signature : document.signatures) {
    auto key = keys.keys.find(signature.key_id);
    if (key == keys.keys.end() || !role.key_ids.contains(signature.key_id) ||
        std::ranges::any_of(signers,
                            [&](const PublicKey* other) { return *other == key->second; })) {
      continue;
    }
    std::vector<std::byte> bytes(signature.hex.size() / 2);
    if (from_hex(signature.hex, bytes) && key->second.verifies(as_bytes(message), bytes)) {
      signers.push_back(&key->second);
    }
  }
  if (signers.size() >= role.threshold) return {};

  size_t usable = 0;
  std::string problem;
  for (const std::string& id : role.key_ids) {
    if (keys.keys.contains(id)) {
      ++usable;
    } else {
      auto unusable = keys.unusable_keys.find(id);
      problem = unusable != keys.unusable_keys.end() ? unusable->second.problem
                                                     : fmt::format("'{}' is not there", id);
    }
  }
  if (usable == 0) {
    return make_error(
        ErrorCode::kUnsupported,
        fmt::format("{}: none of its {} keys in {} can be used here: {}", document.name,
                    role.key_ids.size(), whose, problem.empty() ? "there is none" : problem));
  }
  std::string text = fmt::format("{}: valid signatures by {} of the {} trusted keys needed ({})",
                                 document.name, signers.size(), role.threshold, whose);
  if (usable < role.threshold) {
    text += fmt::format("; there are only {} that can be used{}{}", usable,
                        problem.empty() ? "" : ": ", problem);
  }
  return make_error(ErrorCode::kSignature, std::move(text));
}

Result<> check_signatures(const RootMetadata& root, const SignedDocument& document) {
  return check_signatures(root, root.roles.at(document.role), document,
                          fmt::format("root version {}", root.version));
}

}  // namespace cfs::trust
