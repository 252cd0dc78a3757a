// SPDX-License-Identifier: Apache-2.0
// Releases in TUF targets: a release is named in the `custom` member of a target, and from there
// the release description and the transport manifest.
//
//   ReleaseTarget newest = CFS_TRY(newest_release(targets, "debian-minimal", "stable"));
//   Verified<ReleaseDescription> release = CFS_TRY(fetch_release(targets, newest.target, fetch));
//   Verified<transport::Manifest> manifest = CFS_TRY(fetch_transport(release, fetch));
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/base/unverified.h"
#include "lib/json/value.h"
#include "lib/release/description.h"
#include "lib/transport/manifest.h"
#include "lib/trust/client.h"
#include "lib/trust/fetch.h"
#include "lib/trust/metadata_store.h"
#include "lib/trust/verified.h"

namespace cfs::trust {

/// A release that the targets metadata offers: a target whose custom has a "cfs" member.
struct ReleaseTarget {
  std::string target;  ///< key in Targets::entries
  std::string name;
  std::string version;
  std::string channel;
  uint64_t epoch = 0;
};

/// The custom member of a release's target: {"cfs":{"name":…,"version":…,"channel":…,"epoch":…}}.
[[nodiscard]] json::Value release_custom(const release::ReleaseDescription& description);

/// All releases on offer, sorted by name, channel, epoch. Targets whose "cfs" member is not as
/// release_custom() makes it are left out.
[[nodiscard]] std::vector<ReleaseTarget> list_releases(const Verified<Targets>& targets);

/// The release of that name and channel with the highest epoch. Errors: kNotFound, with a hint that
/// lists what there is; kCorrupt when two releases claim that epoch.
[[nodiscard]] Result<ReleaseTarget> newest_release(const Verified<Targets>& targets,
                                                   std::string_view name, std::string_view channel);

/// As newest_release(). When there is none, the repository is also asked for targets that are
/// signed, but not published yet, and the hint says whether it is there. `targets` came from
/// refresh() with `store` and `fetch`.
[[nodiscard]] Result<ReleaseTarget> find_newest_release(MetadataStore& store, const Fetch& fetch,
                                                        const Verified<Targets>& targets,
                                                        std::string_view name,
                                                        std::string_view channel);

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
