// SPDX-License-Identifier: Apache-2.0
// Which of the installed deployments is running, and how the boots before this one ended.
#pragma once

#include <optional>
#include <string>

#include "deployer/sysroot/history.h"
#include "deployer/sysroot/references.h"
#include "lib/boot/boot_loader.h"

namespace cfs::deployer {

/// What the running system was booted with.
struct Running {
  verity::Digest image;
  std::optional<std::string> entry;  ///< where the boot loader says so
  std::string boot_id;               ///< the kernel's
  /// It came through firmware and boot loader: not by kexec. Only such a boot proves anything.
  bool is_cold = true;
};

/// What the kernel and the boot loader say of the running system; nothing when it was not booted by
/// cfs. `selected`: what the boot loader says.
/// Errors: kIo; kInvalidInput (the kernel command line).
[[nodiscard]] Result<std::optional<Running>> running_system(const Environment& environment,
                                                            std::optional<std::string> selected);

/// True if systemd has started user space anew since the kernel was booted. Without systemd: false.
/// Errors: kSubprocess (systemd does not answer).
/// Spec: systemd-soft-reboot.service(8); org.freedesktop.systemd1(5), SoftRebootsCount, which a
/// systemd without soft-reboot does not have.
[[nodiscard]] Result<bool> is_soft_reboot(const Environment& environment);

/// The deployment that is running; nothing when it is not one of `inventory`.
[[nodiscard]] std::optional<Deployment> running_deployment(const Inventory& inventory,
                                                           const Running& running);

/// What `refs/` must say, seeing what is running: a staged deployment that is running is no longer
/// staged but booted, on trial, and the good one that ran before it is the previous one.
[[nodiscard]] References references_now(const Inventory& inventory,
                                        const std::optional<Running>& running);

/// The inventory with the references as they must be: references_now(). `selected`: as
/// running_system(). Errors: those of read_inventory() and running_system().
[[nodiscard]] Result<Inventory> inventory_now(const Sysroot& sysroot,
                                              const Environment& environment,
                                              std::optional<std::string> selected);

/// Reads the inventory and writes down what must be different, seeing what is running. Every change
/// to a sysroot begins with it. The first time after a boot it also writes down
/// - how the boot before ended: Boot::outcome, with a reason when it was on trial;
/// - that a staged deployment has used up its tries, or that a good one does not boot any more: it
///   is bad, and the running one is chosen;
/// and it finishes what a power cut has interrupted: a good deployment has no boot counter, a bad
/// one is not chosen while there is another, no entry with tries waits that nobody has chosen.
/// A record of what runs that cannot be read is made again, where the boot loader and the stored
/// description say enough. Returns the inventory as it is then.
/// Errors: those of read_inventory(), running_system() and the boot loader; kNoSpace.
[[nodiscard]] Result<Inventory> note_what_booted(Sysroot& sysroot, const Environment& environment,
                                                 boot::BootLoader& loader);

/// Writes down what became of this boot. A boot that is not in the history is added.
/// Errors: kNotFound (what runs is not of this sysroot); as note_what_booted().
[[nodiscard]] Result<> record_outcome(Sysroot& sysroot, const Environment& environment,
                                      const Deployment& booted, BootOutcome outcome,
                                      std::optional<Reason> reason);

}  // namespace cfs::deployer
