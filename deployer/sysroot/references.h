// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "deployer/sysroot/deployment.h"
#include "deployer/sysroot/sysroot.h"

namespace cfs::deployer {

/// The deployments that matter: `refs/`.
struct References {
  std::optional<Deployment> booted;
  std::optional<Deployment> staged;    ///< was chosen to boot next, and is not the booted one
  std::optional<Deployment> previous;  ///< the good one that ran before the booted one
  std::optional<Deployment> recovery;  ///< kept for when nothing else boots
};

enum class Role { kBooted, kStaged, kPrevious, kRecovery };

[[nodiscard]] std::string_view role_name(Role role);
[[nodiscard]] std::optional<Deployment>& reference_to(References& references, Role role);

/// Something in a sysroot that is not what belongs there. It is reported, otherwise ignored, and
/// never removed. Both texts are printable.
struct Damage {
  std::string path;  ///< below `<sysroot>/cfs`
  std::string problem;
};

/// True if what was to be read is not what belongs there, or is beyond reading; false if that
/// cannot be told now: no memory, no descriptors. Whoever takes that for damage decides on half of
/// what is there.
[[nodiscard]] bool is_damage(const Error& error);

/// What `deployments/` and `refs/` hold.
struct Inventory {
  std::vector<Deployment> deployments;  ///< newest epoch first
  References references;                ///< those that can be read
  std::vector<std::string> pinned;      ///< names in `refs/pinned`
  std::vector<Damage> damaged;          ///< by directory, then sorted by path
};

/// Reads every record and reference once. Damage is part of the result and no error.
/// Errors: kIo, kInterrupted.
[[nodiscard]] Result<Inventory> read_inventory(const Sysroot& sysroot);

/// An error that says that something is not in the inventory. If something there is damaged, that
/// may be it: the error then names all that is, and a kNothingToDo becomes a kCorrupt.
[[nodiscard]] Error as_far_as_readable(const Inventory& inventory, Error error);

/// Puts `changed` in the place of all copies of that deployment; adds a new one.
void update_inventory(Inventory& inventory, const Deployment& changed);

/// Writes a deployment's record.
[[nodiscard]] Result<> save_deployment(Sysroot& sysroot, const Deployment& deployment);

/// An id that no deployment of that image has, nor anything else in `deployments/`.
[[nodiscard]] Result<std::string> unused_id(const Sysroot& sysroot, const verity::Digest& image);

[[nodiscard]] Result<> set_reference(Sysroot& sysroot, Role role, const Deployment& deployment);
/// A missing one is fine.
[[nodiscard]] Result<> remove_reference(Sysroot& sysroot, Role role);

}  // namespace cfs::deployer
