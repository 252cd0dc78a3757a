// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "deployer/sysroot/references.h"

namespace cfs::deployer {

/// That a newer deployment than the running one has failed, and why: "2 failed: …". Empty: none
/// has.
[[nodiscard]] std::string what_failed(const Inventory& inventory);

/// Shows a line to whoever logs in, until the next boot: `/run/motd.d/cfs`, which pam_motd reads.
/// Empty: takes it away.
[[nodiscard]] Result<> write_login_notice(const Environment& environment, const std::string& line);

}  // namespace cfs::deployer
