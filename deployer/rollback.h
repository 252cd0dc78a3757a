// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "deployer/command.h"
#include "deployer/sysroot/references.h"
#include "lib/boot/boot_loader.h"

namespace cfs::deployer {

/// Makes the last good deployment before the newest one boot next: while an update is staged that
/// has never run, the running one (the update is given up), else the one that ran before the
/// running one. Again before the reboot: changes nothing. Again after it: goes back to where one
/// came from. A boot entry that is missing or damaged is put back from the copy of its UKI in the
/// sysroot. Returns what boots next.
/// `inventory`: of note_what_booted().
/// Errors: kNotFound (there is no such deployment, or neither entry nor copy); kDigestMismatch,
/// kNoVerity, kCorrupt (it is damaged); kInterrupted; those of the boot loader.
[[nodiscard]] Result<Deployment> roll_back(Sysroot& sysroot, boot::BootLoader& loader,
                                           const Inventory& inventory);

/// `cfs-deploy rollback`
[[nodiscard]] RunCommand declare_rollback(CLI::App& command);

}  // namespace cfs::deployer
