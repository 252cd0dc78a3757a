// SPDX-License-Identifier: Apache-2.0
// Deployments that stay although nothing else needs them.
#pragma once

#include <string>

#include "deployer/boot_order.h"
#include "deployer/command.h"

namespace cfs::deployer {

/// Makes garbage collection leave the deployment alone. It is proven to be whole first.
/// Errors: those of check_image_is_complete().
[[nodiscard]] Result<> pin(Sysroot& sysroot, const Deployment& deployment);
/// `name`: one of Inventory::pinned, whether it is a deployment or not. A missing one is fine.
[[nodiscard]] Result<> unpin(Sysroot& sysroot, const std::string& name);

/// Makes the deployment the recovery, which is never collected. It is proven to be whole first. Its
/// entry waits behind all others, unless it boots anyway.
/// Errors: kInvalidInput (it was not proven good); those of check_image_is_complete(), open_uki()
/// and the boot loader.
[[nodiscard]] Result<> set_recovery(Sysroot& sysroot, boot::BootLoader& loader,
                                    const Deployment& deployment);

/// `cfs-deploy pin`
[[nodiscard]] RunCommand declare_pin(CLI::App& command);
/// `cfs-deploy unpin`
[[nodiscard]] RunCommand declare_unpin(CLI::App& command);
/// `cfs-deploy recovery`
[[nodiscard]] RunCommand declare_recovery(CLI::App& command);

}  // namespace cfs::deployer
