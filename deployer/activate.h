// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "deployer/sysroot/references.h"
#include "lib/boot/boot_loader.h"

namespace cfs::deployer {

/// The deployment of that release that is there already, or the record that a new one will have.
/// `installed`: Unix time for a new record. Errors: kCorrupt (the release has no UKI).
[[nodiscard]] Result<Deployment> deployment_for(const Sysroot& sysroot, const Inventory& inventory,
                                                const release::ReleaseDescription& description,
                                                uint64_t installed);

/// Succeeds if the image of that digest and every object it refers to are in the store, each proven
/// by its digest. Errors: kNotFound, kDigestMismatch, kNoVerity, kCorrupt; kInterrupted.
[[nodiscard]] Result<> check_image_is_complete(Sysroot& sysroot, const verity::Digest& image);

/// Makes a release the one that boots next. Everything it needs must be in the sysroot: objects,
/// image, UKI. Before anything else happens it is checked that every object and the image are what
/// their digests say, and that the UKI pins the image; `update` has compared the UKI with the
/// signed description when it fetched it.
///
/// Can be repeated: after a power cut at any instant the device boots what it booted before or the
/// new release, and calling it again completes what is missing.
/// `deployment`: of deployment_for().
/// Errors: kNotFound, kDigestMismatch, kNoVerity, kCorrupt (something is not as the release says);
/// kNoSpace (the ESP); kInterrupted; those of BootLoader::install() and BootLoader::set_next().
[[nodiscard]] Result<Deployment> activate(
    Sysroot& sysroot, boot::BootLoader& loader, const Inventory& inventory,
    const trust::Verified<release::ReleaseDescription>& description, Deployment deployment);

/// Puts the deployment's boot entry in place from the copy of its UKI in the sysroot.
/// Errors: kNotFound (no copy); kDigestMismatch, kCorrupt (the copy is not what the record says, or
/// does not boot the image); those of BootLoader::install().
[[nodiscard]] Result<> install_entry(Sysroot& sysroot, boot::BootLoader& loader,
                                     const Deployment& deployment);

/// Returns true if the boot loader has the deployment's entry, whole, and it pins its image.
[[nodiscard]] Result<bool> has_whole_entry(const boot::BootLoader& loader,
                                           const Deployment& deployment);

/// Returns true if the boot loader starts this deployment next, from a whole entry.
[[nodiscard]] Result<bool> boots_next(const boot::BootLoader& loader, const Deployment& deployment);

}  // namespace cfs::deployer
