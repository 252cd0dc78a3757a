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

namespace cfs::deployer {

enum class Purpose {
  kDevice,     ///< a device updates itself
  kDiskImage,  ///< /var is left to the disk image; the record has the release's own time
};

struct UpdateOptions {
  std::vector<net::Url> urls;  ///< tried in this order; none: the sysroot's origin
  std::string channel;         ///< empty: the sysroot's origin
  bool check_only = false;     ///< say what would be done, fetch nothing but metadata
  bool retry = false;          ///< take a release that is held (Deployment::held)
  SwitchOptions switching;
  Purpose purpose = Purpose::kDevice;
  /// Looks, before anything is fetched, whether there is room for a plan and a UKI of so many
  /// bytes. Empty: in the sysroot and on the ESP.
  std::function<Result<>(const Plan& plan, uint64_t uki_bytes)> check_room;
};

struct UpdateResult {
  std::optional<Deployment> staged;  ///< boots next; none after check_only
  bool up_to_date = false;           ///< nothing had to be done, or the release is held
};

/// Brings the sysroot to the newest release of its origin's name and channel: metadata, plan,
/// space, objects, check, /var, boot entry last. Prints through `environment`. A release that is
/// installed already, and lacks an object or its boot entry, is completed. One that has failed here
/// or was turned away from is held: it is not taken again without `retry`.
///
/// A repository that cannot be reached is left for the next one.
///
/// A clock that is earlier than an installed release was made is wrong; the newest of these times
/// counts instead.
///
/// Stopped anywhere it can simply be called again: objects that have arrived stay.
/// Errors: kSignature, kRollback (also when the newest release is older than one that is
/// installed), kExpired; kUnsupported (it is for other boards); kNotFound (no release of that name
/// and channel); kNetwork; kCorrupt, kDigestMismatch; kNoVerity (the sysroot's file system has
/// none); kNoSpace; kInterrupted; those of the boot loader.
[[nodiscard]] Result<UpdateResult> update(Sysroot& sysroot, boot::BootLoader& loader,
                                          const Environment& environment,
                                          const UpdateOptions& options);

/// `cfs-deploy update`
[[nodiscard]] RunCommand declare_update(CLI::App& command);

}  // namespace cfs::deployer
