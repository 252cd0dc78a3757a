// SPDX-License-Identifier: Apache-2.0
// The client side of The Update Framework: from a trusted root and a repository that anybody may
// have tampered with to verified targets. No network here: the caller brings a function that
// fetches a named file. The releases that cfs finds in the targets are in releases.h.
//
//   MetadataDirectory store = CFS_TRY(MetadataDirectory::open(sysroot_fd, "cfs/trust"));
//   CFS_TRY(trust_root(store, Unverified(root_json)));              // once: `cfs-deploy init`
//   Verified<Targets> targets = CFS_TRY(refresh(store, fetch, current_time()));
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/result.h"
#include "lib/base/time.h"
#include "lib/base/unverified.h"
#include "lib/trust/fetch.h"
#include "lib/trust/metadata.h"
#include "lib/trust/metadata_store.h"
#include "lib/trust/verified.h"
#include "lib/verity/digest.h"

namespace cfs::trust {

/// The verified targets metadata, and which versions of the other roles stood behind it.
struct Targets {
  uint64_t root_version = 0;
  uint64_t timestamp_version = 0;  ///< 0 when not from refresh()
  uint64_t snapshot_version = 0;   ///< 0 when not from refresh()
  uint64_t targets_version = 0;
  /// Names the set of keys that root lets sign targets: another one after a change of these keys.
  verity::Sha256Digest targets_keys;
  UnixTime expires = 0;  ///< the earliest expiry of all roles that stood behind it
  std::map<std::string, TargetEntry, std::less<>> entries;           ///< by name
  std::map<std::string, std::string, std::less<>> unusable_entries;  ///< name → what is wrong
  json::Value delegations;                    ///< for search_target(); null: none
  std::map<std::string, FileMeta> announced;  ///< what snapshot says; empty when not from refresh()
};

/// The first root that somebody trusts, on the caller's word: it must be signed by its own
/// threshold. Errors: kSignature, kCorrupt, kUnsupported.
[[nodiscard]] Result<RootMetadata> verify_first_root(std::string_view text);

/// The root that follows on `trusted`: it has the next version and is signed by a threshold of the
/// keys of both. Expiry is not checked. Errors: kSignature, kRollback, kCorrupt, kUnsupported.
/// Spec: TUF 1.0.34 §5.3.4 and §5.3.5.
[[nodiscard]] Result<RootMetadata> verify_next_root(const RootMetadata& trusted,
                                                    std::string_view text);

/// Makes `root` the trusted root of a device. It must be signed by its own threshold; that it is
/// the right one is the caller's word. Forgets all other metadata in the store. An expired root is
/// accepted: refresh() looks for newer ones first. A second copy, initial_root.json, stays as it
/// is: from there refresh() finds its way when the trusted root, which newer ones replace, is
/// damaged. Errors: kSignature, kCorrupt, kUnsupported, those of the store.
[[nodiscard]] Result<> trust_root(MetadataStore& store, const Unverified<std::string>& root);

/// Brings the metadata in `store` up to date with the repository and returns the targets.
///
/// Every step is saved as soon as it is verified, so that a failure or a power cut anywhere leaves
/// the store usable. `now` is fixed for the whole run. With a bad repository the store keeps what
/// it had, apart from newer roots, which were signed by the old ones.
/// Errors: kSignature (not signed by a threshold); kRollback (a version went back); kExpired
/// (freeze); kDigestMismatch (length or hash is not what the next role says: mix and match);
/// kCorrupt; kUnsupported (spec_version); kNotFound (no trusted root in the store); kNetwork (a
/// file is missing in the repository); those of `fetch` and of the store. Spec: TUF 1.0.34 §5.1 to
/// §5.6.6.
[[nodiscard]] Result<Verified<Targets>> refresh(MetadataStore& store, const Fetch& fetch,
                                                UnixTime now);

/// The targets that refresh() saved last, without a network: signed by the trusted root's keys.
/// Expiry is not checked. Errors: kNotFound (never refreshed), kSignature, kCorrupt.
[[nodiscard]] Result<Verified<Targets>> load_trusted(MetadataStore& store);

/// When the timestamp that refresh() saved last expires; nothing when there is none that the
/// trusted root's keys have signed. Errors: those of the store.
[[nodiscard]] Result<std::optional<UnixTime>> expiry_of_saved_timestamp(MetadataStore& store);

/// The targets in `text`, a targets file of any version, signed by the trusted root's keys. Expiry
/// is not checked. Errors: as load_trusted().
[[nodiscard]] Result<Verified<Targets>> verify_targets(MetadataStore& store,
                                                       const Unverified<std::string>& text);

/// The entry of that name. Errors: kNotFound; kUnsupported (a target that we cannot use, and why).
[[nodiscard]] Result<const TargetEntry*> find_target(const Verified<Targets>& targets,
                                                     std::string_view name);

/// The entry of that name: that of the targets themselves, or else of the roles that they delegate
/// it to, searched in pre-order and depth first. `targets` came from refresh() with `store`, where
/// metadata of delegated roles is kept too, and `fetch`. At most 32 roles are visited.
/// Errors: kNotFound; those of refresh() for the metadata of a role that was asked.
/// Spec: TUF 1.0.34 §5.6.7.
[[nodiscard]] Result<Verified<TargetEntry>> search_target(MetadataStore& store, const Fetch& fetch,
                                                          const Verified<Targets>& targets,
                                                          const std::string& name, UnixTime now);

/// Checks bytes of a target against its length and hash. Errors: kDigestMismatch.
/// Spec: TUF 1.0.34 §5.7.
[[nodiscard]] Result<Verified<std::string>> verify_target(const Verified<TargetEntry>& target,
                                                          Unverified<std::string> content);

/// Checks bytes of the target called `name` against its length and hash.
/// Errors: kDigestMismatch; those of find_target().
/// Spec: TUF 1.0.34 §5.7.
[[nodiscard]] Result<Verified<std::string>> verify_target(const Verified<Targets>& targets,
                                                          std::string_view name,
                                                          Unverified<std::string> content);

}  // namespace cfs::trust
