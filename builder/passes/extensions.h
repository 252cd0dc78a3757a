// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "builder/rootfs.h"
#include "lib/base/result.h"

namespace cfs::builder {

/// Refuses a tree whose systemd merges extensions at boot: systemd-sysext lays what it finds in
/// /var/lib/extensions over /usr, systemd-confext what is in /var/lib/confexts over /etc, and /var
/// is not part of what the image's digest vouches for.
///
/// A unit does so if something that starts with the system pulls in systemd-sysext.service or
/// systemd-confext.service (a link in a .wants, .requires or .upholds directory, an option of a
/// unit or drop-in), or if it runs one of the two programs itself. A masked unit does nothing.
/// Errors: kInvalidInput, naming the file and the word that allows it.
/// Spec: systemd.unit(5), "Unit File Load Path"; systemd-sysext(8).
[[nodiscard]] Result<> refuse_extensions_from_var(Rootfs& rootfs);

}  // namespace cfs::builder
