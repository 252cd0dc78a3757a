// SPDX-License-Identifier: Apache-2.0
// Where things lie in a release repository: paths relative to its root, with '/' (docs/FORMATS.md).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lib/verity/digest.h"

namespace cfs::release {

constexpr std::string_view kMetadataDirectory = "metadata";
constexpr std::string_view kTimestampPath = "metadata/timestamp.json";

/// "metadata/3.root.json"; `role` is root, targets or snapshot.
[[nodiscard]] std::string metadata_path(std::string_view role, uint64_t version);

/// "targets/<hash>.<name>", for a name with directories "targets/<directories>/<hash>.<file>" (TUF
/// consistent snapshots). `hash`: lower-case hex; SHA-256 in repositories of cfs.
[[nodiscard]] std::string target_path(std::string_view hash, std::string_view name);

/// "rel/<image digest>/manifest"
[[nodiscard]] std::string transport_path(const verity::Digest& image);

/// "obj/ab/<62 hex>.zst"
[[nodiscard]] std::string encoded_object_path(const verity::Digest& object);

/// The TUF target path of a release description: "<name>_<version>.release.json"
[[nodiscard]] std::string release_target_name(std::string_view name, std::string_view version);

}  // namespace cfs::release
