// SPDX-License-Identifier: Apache-2.0
// What follows when the running deployment is not in good health.
#pragma once

#include "deployer/health/health.h"
#include "deployer/sysroot/reason.h"
#include "deployer/sysroot/sysroot.h"
#include "lib/boot/boot_loader.h"

namespace cfs::deployer {

/// Why a report has not passed: its first required check that failed.
[[nodiscard]] Reason reason_of(const HealthReport& report, const Environment& environment);

/// Writes down why the running deployment is not in good health: in the history, and for who logs
/// in. Returns true if it is on trial: then the machine is to be restarted, so that its tries are
/// used up. A good one goes on: that it worked before tells that going back may not mend it.
/// Errors: kNotFound (what runs is not of this sysroot); those of note_what_booted().
[[nodiscard]] Result<bool> record_ill_health(Sysroot& sysroot, boot::BootLoader& loader,
                                             const Environment& environment, const Reason& reason);

/// Asks systemd to restart the machine. Errors: kSubprocess.
[[nodiscard]] Result<> restart(const Environment& environment);

/// `cfs-deploy health`
[[nodiscard]] RunCommand declare_health(CLI::App& command);

}  // namespace cfs::deployer
