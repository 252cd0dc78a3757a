// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string_view>

#include "deployer/boot_order.h"
#include "deployer/command.h"
#include "deployer/sysroot/running.h"

namespace cfs::deployer {

/// How the running deployment was started, if that proves nothing: "kexec", "a soft-reboot". Empty:
/// by firmware and boot loader. Errors: those of is_soft_reboot().
[[nodiscard]] Result<std::string_view> start_without_proof(const Environment& environment,
                                                           const Deployment& booted,
                                                           const Running& running);

/// Writes down that the running deployment is good, and ends its trial. `inventory`: of
/// note_what_booted(). Returns false if it was good already.
/// Errors: kNotFound (what runs is not of this sysroot); kUnsupported (it is on trial and was not
/// started by firmware and boot loader, but by kexec or a soft-reboot: that proves nothing; or it
/// was marked bad, whatever its checks say); those of is_soft_reboot() and the boot loader.
[[nodiscard]] Result<bool> bless(Sysroot& sysroot, boot::BootLoader& loader,
                                 const Environment& environment, Inventory& inventory);

/// Collects the garbage that a blessing leaves, and tells. What fails is told, too: the release has
/// proven good all the same.
void collect_after_bless(Sysroot& sysroot, boot::BootLoader& loader, const Environment& environment,
                         Inventory& inventory);

/// Writes down that the running deployment is bad and makes the best other one boot next. Words of
/// `reason` are kept. Returns what boots next.
/// Errors: kNotFound (nothing of this sysroot runs); kNoWayBack (there is no other whole one that
/// is not bad); kInvalidInput (it was proven good longer ago than `limit`); those of boot_next().
[[nodiscard]] Result<Deployment> mark_bad(Sysroot& sysroot, boot::BootLoader& loader,
                                          const Environment& environment, Inventory& inventory,
                                          const std::string& reason,
                                          std::optional<std::chrono::seconds> limit);

/// `cfs-deploy bless`
[[nodiscard]] RunCommand declare_bless(CLI::App& command);
/// `cfs-deploy mark-bad`
[[nodiscard]] RunCommand declare_mark_bad(CLI::App& command);
/// `cfs-deploy note-boot`
[[nodiscard]] RunCommand declare_note_boot(CLI::App& command);

}  // namespace cfs::deployer
