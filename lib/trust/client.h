// SPDX-License-Identifier: Apache-2.0
// The client side of The Update Framework: from a trusted root and a repository that anybody may
// have tampered with to verified targets. No network here: the caller brings a function that
// fetches a named file.
//
//   MetadataDirectory store = CFS_TRY(MetadataDirectory::open(sysroot_fd, "cfs/trust"));
//   CFS_TRY(trust_root(store, Unverified(root_json)));              // once: `cfs-deploy init`
//   Verified<Targets> targets = CFS_TRY(refresh(store, fetch, current_time()));
//   ReleaseTarget newest = CFS_TRY(newest_release(targets, "debian-minimal", "stable"));
//   Verified<ReleaseDescription> release = CFS_TRY(fetch_release(targets, newest.target, fetch));
//   Verified<transport::Manifest> manifest = CFS_TRY(fetch_transport(release, fetch));
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/base/time.h"
#include "lib/base/unverified.h"
#include "lib/json/json.h"
#include "lib/release/description.h"
#include "lib/transport/manifest.h"
#include "lib/trust/metadata_store.h"
#include "lib/trust/verified.h"
#include "lib/verity/digest.h"

namespace cfs::trust {

/// Fetches the file at `path`, relative to the repository's root ("metadata/2.root.json"), and at
/// most `limit_bytes` of it: a longer one is an error, never cut short. kNotFound when the
/// repository answers that it has no such file for us; every other failure has another code.
using Fetch =
    std::function<Result<Unverified<std::string>>(const std::string& path, size_t limit_bytes)>;

/// One entry of the targets metadata.
struct TargetEntry {
  std::string name;  ///< TUF target path; here without '/'
  uint64_t size_bytes = 0;
  verity::Sha256Digest sha256;
  json::Value custom;  ///< null when there is none
  bool operator==(const TargetEntry&) const = default;
};

/// The verified targets metadata, and which versions of the other roles stood behind it.
struct Targets {
  uint64_t root_version = 0;
  uint64_t timestamp_version = 0;  ///< 0 in load_trusted()
  uint64_t snapshot_version = 0;   ///< 0 in load_trusted()
  uint64_t targets_version = 0;
  UnixTime expires = 0;  ///< the earliest expiry of all four roles
  std::map<std::string, TargetEntry, std::less<>> entries;  ///< by name
};

/// A release that the targets metadata offers: a target whose custom has a "cfs" member.
struct ReleaseTarget {
  std::string target;  ///< key in Targets::entries
  std::string name;
  std::string version;
  std::string channel;
  uint64_t epoch = 0;
};

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
/// §5.6, without delegations.
[[nodiscard]] Result<Verified<Targets>> refresh(MetadataStore& store, const Fetch& fetch,
                                                UnixTime now);

/// The targets that refresh() saved last, without a network: signed by the trusted root's keys.
/// Expiry is not checked. Errors: kNotFound (never refreshed), kSignature, kCorrupt.
[[nodiscard]] Result<Verified<Targets>> load_trusted(MetadataStore& store);

/// All releases on offer, sorted by name, channel, epoch. kCorrupt when two of one name and channel
/// claim one epoch.
[[nodiscard]] Result<std::vector<ReleaseTarget>> list_releases(const Verified<Targets>& targets);

/// The release of that name and channel with the highest epoch. kNotFound when there is none.
[[nodiscard]] Result<ReleaseTarget> newest_release(const Verified<Targets>& targets,
                                                   std::string_view name, std::string_view channel);

/// Checks bytes of the target called `name` against its length and hash.
/// Errors: kNotFound (no such target), kDigestMismatch.
/// Spec: TUF 1.0.34 §5.7.
[[nodiscard]] Result<Verified<std::string>> verify_target(const Verified<Targets>& targets,
                                                          std::string_view name,
                                                          Unverified<std::string> content);

/// verify_target, then parses a release description, which must be what the target's custom says
/// (name, version, channel, epoch).
[[nodiscard]] Result<Verified<release::ReleaseDescription>> verify_release(
    const Verified<Targets>& targets, std::string_view name, Unverified<std::string> content);

/// Fetches and verifies the release description that is the target `name`.
[[nodiscard]] Result<Verified<release::ReleaseDescription>> fetch_release(
    const Verified<Targets>& targets, std::string_view name, const Fetch& fetch);

/// Checks a transport manifest against the length and hash in the release description, and that
/// image digest and size, object count and sum are those of the description.
/// Errors: kDigestMismatch, kCorrupt, kNotFound (the description names none).
[[nodiscard]] Result<Verified<transport::Manifest>> verify_transport(
    const Verified<release::ReleaseDescription>& description,
    const Unverified<std::string>& content);
[[nodiscard]] Result<Verified<transport::Manifest>> fetch_transport(
    const Verified<release::ReleaseDescription>& description, const Fetch& fetch);

}  // namespace cfs::trust
