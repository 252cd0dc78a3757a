// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "deployer/boot_order.h"

namespace cfs::deployer {

/// The deployment of that release that is there already, or the record that a new one will have.
/// `installed`: Unix time for a new record. Errors: kCorrupt (the release has no UKI).
[[nodiscard]] Result<Deployment> deployment_for(const Sysroot& sysroot, const Inventory& inventory,
                                                const release::ReleaseDescription& description,
                                                uint64_t installed);

/// Makes a release the one that boots next (boot_next()). Everything it needs must be in the
/// sysroot: objects, image, UKI; `update` has compared the UKI with the signed description when it
/// fetched it. `deployment`: of deployment_for(); returned as it is then.
/// Errors: those of boot_next().
[[nodiscard]] Result<Deployment> activate(
    Sysroot& sysroot, boot::BootLoader& loader, Inventory& inventory,
    const trust::Verified<release::ReleaseDescription>& description, Deployment deployment,
    const SwitchOptions& options);

}  // namespace cfs::deployer
