// SPDX-License-Identifier: Apache-2.0
// What releases have brought to this device's /var: `state/var-delivered` (docs/FORMATS.md).
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "deployer/var/entry.h"
#include "lib/base/result.h"
#include "lib/sysroot/var_policy.h"

namespace cfs::deployer {

constexpr size_t kMaxDeliveredBytes = 256 << 20;

/// What a path was after cfs-deploy had last to do with it.
struct Delivered {
  /// The policy by which it came.
  sysroot::VarPolicy policy = sysroot::VarPolicy::kMissingOnly;
  /// Usually one. More while a delivery is under way: what it was before, and what it becomes.
  std::set<Fingerprint> fingerprints;
  /// It may also be that there is nothing.
  bool or_nothing = false;
  /// Its owner, mode and extended attributes are being changed: it may be any directory.
  bool or_any_directory = false;

  bool operator==(const Delivered&) const = default;
};

struct DeliveryRecord {
  /// The image whose delivery was the last, and is complete; nothing while one is under way.
  std::optional<verity::Digest> image;
  /// By path relative to /var; "." is /var itself.
  std::map<std::string, Delivered> entries;

  bool operator==(const DeliveryRecord&) const = default;
};

/// Errors: kCorrupt.
[[nodiscard]] Result<DeliveryRecord> parse_delivery_record(std::string_view text);
[[nodiscard]] std::string serialise_delivery_record(const DeliveryRecord& record);

}  // namespace cfs::deployer
