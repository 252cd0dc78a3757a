// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "deployer/sysroot/sysroot.h"
#include "lib/boot/esp.h"

namespace cfs::deployer {

/// The release's UKI in the sysroot, relative to Sysroot::directory_fd(). `file`: its role is
/// "uki".
[[nodiscard]] std::string uki_path(const release::ReleaseDescription& description,
                                   const release::ReleaseFile& file);

/// The deployment of that release that is there already, or the record that a new one will have.
/// `installed`: Unix time for a new record.
[[nodiscard]] Result<Deployment> deployment_for(const Sysroot& sysroot,
                                                const release::ReleaseDescription& description,
                                                uint64_t installed);

/// Makes a release the one that boots next. Everything it needs must be in the sysroot: objects,
/// image, UKI; that is checked here once more, all of it, before anything else happens.
///
/// Can be repeated: after a power cut at any instant the device boots what it booted before or the
/// new release, and calling it again completes what is missing.
/// `deployment`: of deployment_for().
/// Errors: kNotFound, kDigestMismatch, kNoVerity, kCorrupt (something is not as the release says);
/// kNoSpace (the ESP).
[[nodiscard]] Result<Deployment> activate(
    Sysroot& sysroot, boot::Esp& esp,
    const trust::Verified<release::ReleaseDescription>& description, Deployment deployment);

/// Makes the last good deployment before the newest one boot next: while an update is staged that
/// has never run, the running one (the update is given up), else the one that ran before the
/// running one. Again before the reboot: changes nothing. Again after it: goes back to where one
/// came from. Returns what boots next. Errors: kNotFound (there is no such deployment);
/// kDigestMismatch, kNoVerity (it is damaged).
[[nodiscard]] Result<Deployment> roll_back(Sysroot& sysroot, boot::Esp& esp);

/// Does the boot loader start this deployment next, from a whole UKI that pins its image?
[[nodiscard]] Result<bool> boots_next(const boot::Esp& esp, const Deployment& deployment);

}  // namespace cfs::deployer
