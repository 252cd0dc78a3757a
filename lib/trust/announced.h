// SPDX-License-Identifier: Apache-2.0
// The steps that timestamp, snapshot, targets and delegated roles have in common. Not for inclusion
// outside lib/trust. Spec: TUF 1.0.34 §5.4 to §5.6.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/result.h"
#include "lib/base/time.h"
#include "lib/trust/fetch.h"
#include "lib/trust/metadata.h"
#include "lib/trust/metadata_store.h"

namespace cfs::trust::internal {

/// A role as those who vouch for it see it.
struct KnownRole {
  std::string file;       ///< in the store and in messages: "targets.json"
  std::string file_name;  ///< in the repository, after the version: "targets"
  size_t max_size_bytes = 0;
  std::function<Result<SignedDocument>(std::string_view text)> parse;
  std::function<Result<>(const SignedDocument&)> check_signatures;
};

/// One of the four roles, with the keys of `root`, which must outlive it.
[[nodiscard]] KnownRole top_level_role(Role role, const RootMetadata& root);
/// A delegated role, with the keys of `delegations`, which must outlive it, as `delegation`.
[[nodiscard]] KnownRole delegated_role(const Delegation& delegation,
                                       const Delegations& delegations);

/// A document that the role's present keys have signed, with its text.
struct SignedText {
  std::string text;
  SignedDocument document;
};

/// The role's document in the store. A document that is damaged or not signed counts as absent.
[[nodiscard]] Result<std::optional<SignedText>> load_saved(MetadataStore& store,
                                                           const KnownRole& role);

/// Fetches the version that another role announces as `meta`, and checks it against that and the
/// role's keys. Freshness and version are up to the caller.
[[nodiscard]] Result<SignedText> fetch_announced(const Fetch& fetch, const KnownRole& role,
                                                 const FileMeta& meta);

/// Returns true if this is the very file that `meta` speaks of.
[[nodiscard]] bool is_announced(const FileMeta& meta, uint64_t version, std::string_view text);

[[nodiscard]] Result<> check_announced_version(const KnownRole& role, uint64_t version,
                                               const FileMeta& meta);
/// Errors: kExpired.
[[nodiscard]] Result<> check_not_expired(std::string_view file, const CommonFields& common,
                                         UnixTime now);

/// The targets metadata that `meta` announces: from the store, or fetched and saved there.
[[nodiscard]] Result<TargetsMetadata> update_targets(MetadataStore& store, const Fetch& fetch,
                                                     const KnownRole& role, const FileMeta& meta,
                                                     UnixTime now);

}  // namespace cfs::trust::internal
