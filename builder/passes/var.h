// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "builder/manifest/manifest.h"
#include "builder/rootfs.h"
#include "lib/base/result.h"
#include "lib/sysroot/var_policy.h"

namespace cfs::builder {

/// Where the list of installed packages lies in an image: it tells what the release is, so it is
/// part of it. /var/lib/dpkg leads there.
inline constexpr const char* kDpkgStatusPath = "/usr/lib/sysimage/dpkg/status";

/// Separates what belongs to the release from what belongs to the device, which has a /var of its
/// own: directories that are to persist move to /var, and links lead there; the package database
/// moves to /usr; all that is in /var then becomes /usr/share/factory/var, from where it comes to
/// devices by the policies that are written to /usr/lib/cfs/var.conf. /var stays as an empty
/// directory. An image without a directory /var stays as it is.
///
/// Returns the paths below /var of what is no directory, with their policies, sorted.
/// Errors: kInvalidInput with the place in the manifest (a path that the image does not have, a
/// directory that cannot persist), or naming what is in the way.
[[nodiscard]] Result<std::vector<sysroot::VarRule>> separate_var(const VarSettings& settings,
                                                                 int64_t source_date_epoch,
                                                                 Rootfs& rootfs);

}  // namespace cfs::builder
