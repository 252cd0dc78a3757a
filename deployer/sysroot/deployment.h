// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/result.h"
#include "lib/json/value.h"
#include "lib/verity/digest.h"

namespace cfs::deployer {

/// staged: complete on disk, never seen running. good: has run. failed: must not be booted again.
enum class DeploymentState { kStaged, kGood, kFailed };

/// An installed release: `deployments/<id>/deployment.json` (docs/FORMATS.md).
struct Deployment {
  std::string id;  ///< first 12 hex digits of the image digest, '.', serial number
  verity::Digest digest;
  std::string name;
  std::string version;
  std::string channel;
  uint64_t epoch = 0;
  DeploymentState state = DeploymentState::kStaged;
  uint64_t installed = 0;  ///< Unix time
  std::string entry;       ///< id of its boot entry (lib/boot/boot_loader.h)
  /// SHA-256 of its UKI, of which a copy lies with the release. Absent in records that an earlier
  /// version of cfs-deploy made.
  std::optional<verity::Sha256Digest> uki;
  /// trust::Targets::targets_keys, under which the epoch was counted. Absent in older files.
  std::optional<verity::Sha256Digest> targets_keys;
  bool operator==(const Deployment&) const = default;
};

[[nodiscard]] std::string_view state_name(DeploymentState state);

/// Every field is checked: what is returned can be printed. Also reads what cfs 0.1 wrote, where
/// `entry` is the name of the entry's file. Errors: kCorrupt; kUnsupported (another schema).
[[nodiscard]] Result<Deployment> parse_deployment(std::string_view text);
[[nodiscard]] json::Value to_json(const Deployment& deployment);

}  // namespace cfs::deployer
