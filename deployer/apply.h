// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "deployer/boot_order.h"
#include "deployer/command.h"
#include "lib/net/url.h"

namespace cfs::deployer {

/// The deployment of that release that is there already, or the record that a new one will have.
/// `installed`: Unix time for a new record. Errors: kCorrupt (the release has no UKI).
[[nodiscard]] Result<Deployment> deployment_for(const Sysroot& sysroot, const Inventory& inventory,
                                                const release::ReleaseDescription& description,
                                                uint64_t installed);

/// Writes down that a release has arrived: its description, the link to its image, a record. All it
/// needs must be in the sysroot, and is proven first: objects, image, UKI; `update` has compared
/// the UKI with the signed description when it fetched it. `deployment`: of deployment_for().
/// From now on apply() can make it boot next, garbage collection keeps it, and it is not held.
/// Errors: kNotFound, kDigestMismatch, kNoVerity, kCorrupt (it is not whole); kNoSpace.
[[nodiscard]] Result<Deployment> record_fetched(
    Sysroot& sysroot, Inventory& inventory,
    const trust::Verified<release::ReleaseDescription>& description, Deployment deployment);

/// boot_next(). If nothing whole is left to fall back to, the best deployment that can be
/// repaired is repaired for that: a device that nobody visits must not stay without updates for a
/// damaged block.
[[nodiscard]] Result<Deployment> apply(Sysroot& sysroot, boot::BootLoader& loader,
                                       const Environment& environment,
                                       std::span<const net::Url> urls, Inventory& inventory,
                                       const Deployment& deployment, const SwitchOptions& options);

/// What was fetched last and waits to be made the one that boots next; not what is held, nor what
/// is older than what is staged or running.
[[nodiscard]] std::optional<Deployment> fetched_deployment(const Inventory& inventory);

/// `cfs-deploy apply`
[[nodiscard]] RunCommand declare_apply(CLI::App& command);

}  // namespace cfs::deployer
