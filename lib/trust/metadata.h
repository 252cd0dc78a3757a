// SPDX-License-Identifier: Apache-2.0
// The four TUF metadata files as values: parsing and writing them. A parsed document is not
// trusted yet (client.h). Members that we do not know are ignored but stay under the signature.
// Spec: TUF 1.0.34 §4.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/base/time.h"
#include "lib/json/value.h"
#include "lib/trust/file_hash.h"
#include "lib/trust/keys.h"

namespace cfs::trust {

enum class Role { kRoot, kTimestamp, kSnapshot, kTargets };
inline constexpr std::array kRoles = {Role::kRoot, Role::kTimestamp, Role::kSnapshot,
                                      Role::kTargets};

/// "root", "timestamp", …
[[nodiscard]] std::string_view role_name(Role role);
/// "root.json": the name in a MetadataStore, in the metadata of other roles, and in messages.
[[nodiscard]] std::string role_file(Role role);
/// The name of the first root in a MetadataStore, without ".json". No delegated role is called so.
inline constexpr std::string_view kInitialRootName = "initial_root";
/// No larger metadata file of that role is fetched or parsed.
[[nodiscard]] size_t max_size_bytes(Role role);

/// An element of "signatures".
struct Signature {
  std::string key_id;  ///< unique in its document
  std::string hex;     ///< as it stands there; may be anything
};

/// A metadata file with its outer layer taken off.
struct SignedDocument {
  Role role = Role::kRoot;
  std::string name = role_file(role);  ///< for messages; "<role>.json" for a delegated role
  std::vector<Signature> signatures;   ///< ≤ 64
  json::Value content;                 ///< "signed"
};

/// Members of every role's content.
struct CommonFields {
  uint64_t version = 0;  ///< ≥ 1
  UnixTime expires = 0;
};

/// Which keys may sign for a role and how many of them must. The threshold may be more than there
/// are keys; then nothing is ever signed well enough. Spec: §4.3.
struct RoleKeys {
  std::set<std::string> key_ids;
  uint64_t threshold = 1;
  bool operator==(const RoleKeys&) const = default;
};

/// A key or a target that we cannot use. It does not make the rest of its document unusable.
struct Unusable {
  json::Value object;  ///< as it stands there
  std::string problem;
};

/// Public keys by key id.
struct KeySet {
  std::map<std::string, PublicKey> keys;
  std::map<std::string, Unusable> unusable_keys;  ///< of other types, damaged, under a wrong id
};

struct RootMetadata : CommonFields, KeySet {
  std::map<Role, RoleKeys> roles;  ///< all four
};

/// The words of a role about the metadata file of another.
struct FileMeta {
  uint64_t version = 0;
  std::optional<uint64_t> length_bytes;
  std::optional<FileHash> hash;
};

struct TimestampMetadata : CommonFields {
  FileMeta snapshot;
};

struct SnapshotMetadata : CommonFields {
  std::map<std::string, FileMeta> files;  ///< "targets.json" is among them
};

/// A target file.
struct TargetEntry {
  /// TUF target path: names [A-Za-z0-9][A-Za-z0-9.+~_-]* with '/' between them, ≤ 180 bytes.
  std::string name;
  uint64_t size_bytes = 0;
  FileHash hash;
  json::Value custom;  ///< null when there is none

  /// Where it lies in the repository.
  [[nodiscard]] std::string path() const;
  bool operator==(const TargetEntry&) const = default;
};

struct TargetsMetadata : CommonFields {
  std::map<std::string, TargetEntry, std::less<>> entries;
  /// Other names, no hash that we compute, damaged.
  std::map<std::string, Unusable, std::less<>> unusable_entries;
  /// For parse_delegations(); null when there are none. Not looked at before somebody needs them.
  json::Value delegations;
};

/// A role to which targets metadata delegates some of its targets. Spec: §4.5.
struct Delegation {
  std::string role;  ///< any text but the name of a role above; ≤ 64 bytes
  RoleKeys keys;
  bool terminating = false;
  std::vector<std::string> paths;               ///< patterns
  std::vector<std::string> path_hash_prefixes;  ///< instead of paths: hex

  /// Returns true if the role may have a target of that name.
  [[nodiscard]] bool covers(std::string_view target) const;
};

struct Delegations : KeySet {
  std::vector<Delegation> roles;  ///< in order of precedence
};

/// Errors of all: kCorrupt; kUnsupported (spec_version, no consistent snapshots).
/// Trust: input is attacker-controlled.
[[nodiscard]] Result<SignedDocument> parse_document(Role role, std::string_view text);
/// The metadata of a delegated role, `name` in messages; its content is like that of targets.
[[nodiscard]] Result<SignedDocument> parse_delegated_document(std::string name,
                                                              std::string_view text);
[[nodiscard]] Result<RootMetadata> parse_root(const SignedDocument& document);
[[nodiscard]] Result<TimestampMetadata> parse_timestamp(const SignedDocument& document);
[[nodiscard]] Result<SnapshotMetadata> parse_snapshot(const SignedDocument& document);
[[nodiscard]] Result<TargetsMetadata> parse_targets(const SignedDocument& document);
/// `delegations` of a TargetsMetadata, `name` in messages.
[[nodiscard]] Result<Delegations> parse_delegations(const json::Value& delegations,
                                                    const std::string& name);
/// The members that every document has, whatever its role.
[[nodiscard]] Result<CommonFields> parse_common(const SignedDocument& document);

/// The content ("signed") that says this. Parsing it gives the same again.
[[nodiscard]] json::Value::Object to_json(const RootMetadata& root);
[[nodiscard]] json::Value::Object to_json(const TimestampMetadata& timestamp);
[[nodiscard]] json::Value::Object to_json(const SnapshotMetadata& snapshot);
[[nodiscard]] json::Value::Object to_json(const TargetsMetadata& targets);
[[nodiscard]] json::Value::Object to_json(const FileMeta& meta);
[[nodiscard]] json::Value::Object to_json(const TargetEntry& entry);

/// Changes a content that was parsed and keeps what we do not know of it: another version, one more
/// or a replaced target.
void set_version(json::Value& content, const CommonFields& common);
void set_target(json::Value& content, const TargetEntry& entry);

/// The bytes that are signed.
[[nodiscard]] std::string signing_form(const SignedDocument& document);
/// The file: canonical JSON and a newline.
[[nodiscard]] std::string serialise_document(const SignedDocument& document);
/// The words of another role about this file.
[[nodiscard]] FileMeta describe_file(uint64_t version, std::string_view text);

/// Succeeds if the document is signed by a threshold of the role's keys. Each key counts once,
/// whatever its number of key ids. `whose` says whose keys these are, for messages.
/// Errors: kSignature; kUnsupported when none of the role's keys can be used here.
/// Spec: TUF 1.0.34 §5.3.4, §5.4.2, §5.5.3, §5.6.3.
[[nodiscard]] Result<> check_signatures(const KeySet& keys, const RoleKeys& role,
                                        const SignedDocument& document, const std::string& whose);
/// The keys that `root` names for the document's role.
[[nodiscard]] Result<> check_signatures(const RootMetadata& root, const SignedDocument& document);

}  // namespace cfs::trust
