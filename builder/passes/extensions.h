// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "builder/rootfs.h"
#include "lib/base/result.h"

namespace cfs::builder {

/// Refuses a tree whose systemd merges extensions at boot: systemd-sysext lays what it finds in
/// /var/lib/extensions over /usr, systemd-confext what is in /var/lib/confexts over /etc, and /var
/// is not part of what the image's digest vouches for.
///
/// It does if something that starts with the system pulls in systemd-sysext.service or
/// systemd-confext.service, or a timer, path or socket of that name: a link in a .wants, .requires
/// or .upholds directory, an option of a unit or drop-in, a udev rule. Or if a unit or a udev rule
/// runs one of the two programs itself. Units, drop-ins and rules that are symlinks are read where
/// they lead. A masked unit does nothing, nor does a masked rule.
/// Errors: kInvalidInput, naming the file and the word that allows it.
/// Spec: systemd.unit(5), "Unit File Load Path"; systemd-sysext(8); systemd.device(5),
/// SYSTEMD_WANTS; udev(7).
[[nodiscard]] Result<> refuse_extensions_from_var(Rootfs& rootfs);

}  // namespace cfs::builder
