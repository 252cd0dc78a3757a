// SPDX-License-Identifier: Apache-2.0
// The commands that choose among what is installed: rollback, boot, cancel.
#pragma once

#include "deployer/boot_order.h"
#include "deployer/command.h"

namespace cfs::deployer {

/// The installed deployment that `name` means: its id, or the beginning of just one id.
/// Errors: kNotFound (none, or several).
[[nodiscard]] Result<Deployment> find_deployment(const Inventory& inventory,
                                                 const std::string& name);

/// Where a rollback goes: while an update is staged that has never run, to the running deployment;
/// else to the good one before it. Errors: kNotFound (there is none).
[[nodiscard]] Result<Deployment> rollback_target(const Inventory& inventory);

/// Refuses a target that cannot use what the running release leaves behind: one whose state_version
/// is smaller. A description that cannot be read says nothing. Errors: kUnsupported; kInterrupted.
[[nodiscard]] Result<> check_state_version(const Sysroot& sysroot, const Inventory& inventory,
                                           const Deployment& target);

/// Makes `target` boot next (boot_next()), and holds what is turned away from, if it is newer: the
/// running, the staged and the previous deployment, and the one that would have booted.
/// `inventory`: of note_what_booted(). `options.left` is set here. Errors: those of boot_next().
[[nodiscard]] Result<> switch_to(Sysroot& sysroot, boot::BootLoader& loader,
                                 const Environment& environment, Inventory& inventory,
                                 const Deployment& target, ReasonKind why, SwitchOptions options);

/// "NAME VERSION (epoch N) boots next"
[[nodiscard]] std::string describe_next(const Deployment& next);

/// As find_deployment(), without those of which only the record is left. Errors: kNotFound.
[[nodiscard]] Result<Deployment> find_installed(const Inventory& inventory,
                                                const std::string& name);

/// Of a command after which `next` boots next: docs/schema/next.json.
[[nodiscard]] Answer next_answer(const Deployment& next);

/// `cfs-deploy rollback`
[[nodiscard]] RunCommand declare_rollback(CLI::App& command);
/// `cfs-deploy boot`
[[nodiscard]] RunCommand declare_boot(CLI::App& command);
/// `cfs-deploy cancel`
[[nodiscard]] RunCommand declare_cancel(CLI::App& command);

}  // namespace cfs::deployer
