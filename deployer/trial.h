// SPDX-License-Identifier: Apache-2.0
// What follows when the running deployment is not in good health.
#pragma once

#include <chrono>

#include "deployer/health/health.h"
#include "deployer/sysroot/reason.h"
#include "deployer/sysroot/sysroot.h"
#include "lib/boot/boot_loader.h"

namespace cfs::deployer {

/// True while the running deployment of the sysroot at that path has not been proven good. Where
/// the sysroot cannot be read: if the boot loader counts this boot. Errors: those of reading the
/// sysroot, in a boot that is not counted; kInterrupted.
[[nodiscard]] Result<bool> is_on_trial(const Environment& environment, const std::string& sysroot);

/// Why a report has not passed: its first required check that failed. Without Reason::when.
[[nodiscard]] Reason reason_of(const HealthReport& report);

/// Writes down, with the time, why the running deployment is not in good health: in the history,
/// and for who logs in. Returns true if it is on trial and has tries: then the machine is to be
/// restarted, so that they are used up. A good one goes on: that it worked before tells that going
/// back may not mend it. So does one without tries, the first of a device: there is nothing to go
/// back to. Errors: kNotFound (what runs is not of this sysroot); those of note_what_booted().
[[nodiscard]] Result<bool> record_ill_health(Sysroot& sysroot, boot::BootLoader& loader,
                                             const Environment& environment, Reason reason);

/// Ends the trial of the running deployment, which has lasted for `limit`: writes that down, and
/// returns true if the machine is to be restarted. False: the trial has ended well, or does so
/// here, since the health checks have passed and nobody has had the time to bless it; or it goes on
/// in good health, since it was started by kexec or a soft-reboot; or it has no tries. Errors: as
/// record_ill_health().
[[nodiscard]] Result<bool> end_overdue_trial(Sysroot& sysroot, boot::BootLoader& loader,
                                             const Environment& environment,
                                             std::chrono::seconds limit);

/// The same, of the sysroot at a path, with what happens where it cannot be written: a machine
/// whose checks have passed waits for as long as somebody else is changing the sysroot; any other
/// is to be restarted if the boot loader counts this boot. `esp`: as MountedEsp::open().
/// `patience`: how long the sysroot is waited for at a time. Errors: those of is_on_trial();
/// kInterrupted.
[[nodiscard]] Result<bool> end_trial_at_limit(const Environment& environment,
                                              const std::string& sysroot, const std::string& esp,
                                              std::chrono::seconds limit,
                                              std::chrono::seconds patience);

/// Asks systemd to restart the machine. Errors: kSubprocess.
[[nodiscard]] Result<> restart(const Environment& environment);

/// `cfs-deploy health`
[[nodiscard]] RunCommand declare_health(CLI::App& command);

}  // namespace cfs::deployer
