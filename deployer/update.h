// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>

#include "deployer/boot_order.h"
#include "deployer/command.h"
#include "deployer/fetch/plan.h"
#include "deployer/sysroot/deployment.h"
#include "deployer/sysroot/sysroot.h"
#include "lib/boot/boot_loader.h"
#include "lib/trust/releases.h"

namespace cfs::deployer {

enum class Purpose {
  kDevice,     ///< a device updates itself
  kDiskImage,  ///< /var is left to the disk image; the record has the release's own time
};

/// How far an update goes.
enum class Until {
  kChecked,  ///< says what there is; fetches nothing but metadata
  kFetched,  ///< brings all of it onto the device; apply() does the rest
  kStaged,   ///< and makes it boot next
};

struct UpdateOptions {
  std::vector<net::Url> urls;  ///< tried in this order; none: the sysroot's origin
  std::string channel;         ///< empty: the sysroot's origin
  Until until = Until::kStaged;
  bool retry = false;  ///< take a release that is held (Deployment::held)
  uint64_t keep = 2;   ///< GarbageOptions::keep, if there is no room for the release
  SwitchOptions switching;
  Purpose purpose = Purpose::kDevice;
  /// Looks, before anything is fetched, whether there is room for a plan and a UKI of so many
  /// bytes. Empty: in the sysroot and on the ESP.
  std::function<Result<>(const Plan& plan, uint64_t uki_bytes)> check_room;
};

enum class UpdateOutcome {
  kUpToDate,   ///< nothing had to be done
  kHeld,       ///< the release has failed here, or was turned away from
  kAvailable,  ///< Until::kChecked: there is something to fetch
  kFetched,
  kStaged,
};

/// What is different in a release besides its files.
struct Changes {
  std::string kernel_before;
  std::string kernel;
  uint64_t state_version_before = 0;
  uint64_t state_version = 0;
};

struct UpdateResult {
  UpdateOutcome outcome = UpdateOutcome::kUpToDate;
  trust::ReleaseTarget newest;           ///< on offer
  std::optional<Deployment> from;        ///< what it takes the place of
  std::optional<Deployment> deployment;  ///< its record, if it has one
  Plan plan;                             ///< what was to be fetched
  std::optional<Changes> changes;        ///< of `from`, where that can still be read

  [[nodiscard]] bool is_nothing_to_do() const {
    return outcome == UpdateOutcome::kUpToDate || outcome == UpdateOutcome::kHeld;
  }
};

/// Brings the sysroot to the newest release of its origin's name and channel: metadata, plan,
/// space, objects, check, record, boot entry last. Prints through `environment`. A release that is
/// installed already, and lacks an object or its boot entry, is completed. One that has failed here
/// or was turned away from is held: it is not taken again without `retry`.
///
/// A repository that cannot be reached is left for the next one.
///
/// The metadata is judged by believable_time().
///
/// Stopped anywhere it can simply be called again: objects that have arrived stay.
/// Errors: kSignature, kRollback (also when the newest release is older than one that is
/// installed), kExpired; kUnsupported (it is for other boards); kNotFound (no release of that name
/// and channel); kNetwork; kCorrupt, kDigestMismatch; kNoVerity (the sysroot's file system has
/// none); kNoSpace; kInterrupted; those of the boot loader.
[[nodiscard]] Result<UpdateResult> update(Sysroot& sysroot, boot::BootLoader& loader,
                                          const Environment& environment,
                                          const UpdateOptions& options);

/// For programs: docs/schema/update.json.
[[nodiscard]] json::Value to_json(const UpdateResult& result);

/// `cfs-deploy check`
[[nodiscard]] RunCommand declare_check(CLI::App& command);
/// `cfs-deploy fetch`
[[nodiscard]] RunCommand declare_fetch(CLI::App& command);
/// `cfs-deploy update`
[[nodiscard]] RunCommand declare_update(CLI::App& command);

}  // namespace cfs::deployer
