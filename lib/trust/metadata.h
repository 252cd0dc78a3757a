// SPDX-License-Identifier: Apache-2.0
// The four TUF metadata files as values. Parsing says nothing about trust: that is client.cc.
// Unknown members are ignored but stay under the signature. Spec: TUF 1.0.34 §4.
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
#include "lib/json/json.h"
#include "lib/trust/client.h"
#include "lib/trust/keys.h"

namespace cfs::trust {

enum class Role { kRoot, kTimestamp, kSnapshot, kTargets };
inline constexpr std::array kRoles = {Role::kRoot, Role::kTimestamp, Role::kSnapshot,
                                      Role::kTargets};

/// "root", "timestamp", …
[[nodiscard]] std::string_view role_name(Role role);
/// "root.json": the name in a MetadataStore, in the metadata of other roles, and in messages.
[[nodiscard]] std::string role_file(Role role);
/// No larger metadata file of that role is fetched or parsed.
[[nodiscard]] size_t max_size_bytes(Role role);

/// One element of "signatures".
struct Signature {
  std::string key_id;
  std::string hex;  ///< as it stands there; may be anything
};

/// A metadata file with its outer layer taken off.
struct SignedDocument {
  Role role = Role::kRoot;
  std::vector<Signature> signatures;  ///< ≤ 64
  json::Value content;                ///< "signed"
};

/// What all roles have.
struct CommonFields {
  uint64_t version = 0;  ///< ≥ 1
  UnixTime expires = 0;
};

/// Which keys may sign for a role and how many of them must.
struct RoleKeys {
  std::set<std::string> key_ids;
  uint64_t threshold = 1;
  bool operator==(const RoleKeys&) const = default;
};

struct RootMetadata : CommonFields {
  std::map<std::string, PublicKey> keys;  ///< by key id; keys of other types are left out
  std::map<Role, RoleKeys> roles;         ///< all four
};

/// What one role says about the metadata file of another.
struct FileMeta {
  uint64_t version = 0;
  std::optional<uint64_t> length_bytes;
  std::optional<verity::Sha256Digest> sha256;
};

struct TimestampMetadata : CommonFields {
  FileMeta snapshot;
};

struct SnapshotMetadata : CommonFields {
  std::map<std::string, FileMeta> files;  ///< "targets.json" is among them
};

struct TargetsMetadata : CommonFields {
  std::map<std::string, TargetEntry, std::less<>> entries;
};

/// Errors of all: kCorrupt; kUnsupported (spec_version, no consistent snapshots).
/// Trust: input is attacker-controlled.
[[nodiscard]] Result<SignedDocument> parse_document(Role role, std::string_view text);
[[nodiscard]] Result<RootMetadata> parse_root(const SignedDocument& document);
[[nodiscard]] Result<TimestampMetadata> parse_timestamp(const SignedDocument& document);
[[nodiscard]] Result<SnapshotMetadata> parse_snapshot(const SignedDocument& document);
[[nodiscard]] Result<TargetsMetadata> parse_targets(const SignedDocument& document);

/// Is the document signed by a threshold of the keys that `root` names for its role? Each key
/// counts once, whatever its number of signatures or key ids. Errors: kSignature. Spec: TUF 1.0.34
/// §5.3.4, §5.4.2, §5.5.3, §5.6.3.
[[nodiscard]] Result<> check_signatures(const RootMetadata& root, const SignedDocument& document);

}  // namespace cfs::trust
