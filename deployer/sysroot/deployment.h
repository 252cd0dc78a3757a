// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "deployer/sysroot/reason.h"
#include "lib/base/result.h"
#include "lib/json/value.h"
#include "lib/verity/digest.h"

namespace cfs::deployer {

/// Every deployment has one state.
enum class DeploymentState {
  kFetched,  ///< complete on disk, and nobody has chosen it
  kStaged,   ///< was chosen to boot next, and was not seen running yet
  kTrial,    ///< has been seen running, and was not proven good
  kGood,     ///< was proven good by a boot through the boot loader whose health checks passed
  kBad,      ///< failed, or was marked bad
};

/// An installed release: `deployments/<id>/deployment.json` (docs/FORMATS.md).
struct Deployment {
  std::string id;  ///< first 12 hex digits of the image digest, '.', serial number
  verity::Digest digest;
  std::string name;
  std::string version;
  std::string channel;
  uint64_t epoch = 0;
  DeploymentState state = DeploymentState::kFetched;
  uint64_t installed = 0;  ///< Unix time
  uint64_t blessed = 0;    ///< Unix time when it was last proven good; 0: never
  std::string entry;       ///< id of its boot entry (lib/boot/boot_loader.h)
  /// SHA-256 of its UKI, of which a copy lies with the release. Absent in records that an earlier
  /// version of cfs-deploy made.
  std::optional<verity::Sha256Digest> uki;
  /// trust::Targets::targets_keys, under which the epoch was counted. Absent in older files.
  std::optional<verity::Sha256Digest> targets_keys;
  /// Why `update` does not choose it by itself: it has failed, or somebody has turned away from it.
  /// Always there in the state kBad.
  std::optional<Reason> held;
  /// Garbage collection has left nothing of it but this record, which says that it is held.
  bool collected = false;
  bool operator==(const Deployment&) const = default;
};

/// "fetched", "staged", "trial", "good", "bad"
[[nodiscard]] std::string_view state_name(DeploymentState state);

/// Returns true if the deployment has proven good here, though somebody may have marked it bad
/// since. It starts without a boot counter.
[[nodiscard]] bool has_proven_good(const Deployment& deployment);

/// `[0-9a-f.]+`
[[nodiscard]] bool is_deployment_id(std::string_view text);

/// Every field is checked: what is returned can be printed. Also reads what cfs 0.1 wrote, where
/// `entry` is the name of the entry's file. Errors: kCorrupt; kUnsupported (another schema).
[[nodiscard]] Result<Deployment> parse_deployment(std::string_view text);
[[nodiscard]] json::Value to_json(const Deployment& deployment);

}  // namespace cfs::deployer
