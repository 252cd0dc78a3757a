// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "deployer/activate.h"
#include "deployer/mounted_esp.h"
#include "deployer/sysroot/sysroot.h"

namespace cfs::deployer {

enum class Purpose {
  kDevice,     ///< a device updates itself
  kDiskImage,  ///< /var is left to the disk image; the record has the release's own time
};

struct UpdateOptions {
  std::string url;          ///< empty: the sysroot's origin
  bool check_only = false;  ///< say what would be done, fetch nothing but metadata
  Purpose purpose = Purpose::kDevice;
};

struct UpdateResult {
  std::optional<Deployment> staged;  ///< boots next; none after check_only
  bool up_to_date = false;           ///< nothing had to be done
};

/// Brings the sysroot to the newest release of its origin's name and channel: metadata, plan,
/// space, objects, check, /var, boot entry last. What it prints goes through `environment`.
///
/// Stopped anywhere it can simply be called again: objects that have arrived stay.
/// Errors: kSignature, kRollback (also when the newest release is older than one that is
/// installed), kExpired; kNetwork; kCorrupt, kDigestMismatch; kNoSpace; kInterrupted.
[[nodiscard]] Result<UpdateResult> update(Sysroot& sysroot, MountedEsp& esp,
                                          const Environment& environment,
                                          const UpdateOptions& options);

}  // namespace cfs::deployer
