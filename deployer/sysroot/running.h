// SPDX-License-Identifier: Apache-2.0
// Which of the installed deployments is running.
#pragma once

#include <optional>
#include <string>

#include "deployer/sysroot/references.h"
#include "lib/boot/boot_loader.h"

namespace cfs::deployer {

/// What the running system was booted with.
struct Running {
  verity::Digest image;
  std::optional<std::string> entry;  ///< where the boot loader says so
};

/// What the kernel and the boot loader say of the running system; nothing when it was not booted by
/// cfs. `selected`: what the boot loader says.
/// Errors: kIo; kInvalidInput (the kernel command line).
[[nodiscard]] Result<std::optional<Running>> running_system(const Environment& environment,
                                                            std::optional<std::string> selected);

/// What `refs/` must say, seeing what is running: a staged deployment that is running is no longer
/// staged but booted and good, and the one that ran before it is the previous one.
[[nodiscard]] References references_now(const Inventory& inventory,
                                        const std::optional<Running>& running);

/// Reads the inventory and writes down what must be different, seeing what is running. Returns it
/// as it is then. Every change to a sysroot begins with it.
/// Errors: those of read_inventory(), running_system() and BootLoader::selected(); kNoSpace.
[[nodiscard]] Result<Inventory> note_what_booted(Sysroot& sysroot, const Environment& environment,
                                                 const boot::BootLoader& loader);

}  // namespace cfs::deployer
