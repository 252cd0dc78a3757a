// SPDX-License-Identifier: Apache-2.0
// What the installed releases take of the disk.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "deployer/sysroot/references.h"
#include "deployer/upkeep/gc.h"

namespace cfs::deployer {

/// All bytes are those that the files take on the disk (disk_usage_bytes()).
struct Space {
  struct Release {
    uint64_t bytes = 0;         ///< image, objects, copy of the UKI
    uint64_t unique_bytes = 0;  ///< of these, what no other deployment needs
    bool operator==(const Release&) const = default;
  };
  std::map<std::string, Release> releases;  ///< by id; those whose image can be read
  uint64_t objects = 0;                     ///< that they need, images included, each once
  uint64_t bytes = 0;                       ///< of these objects
  uint64_t shared_bytes = 0;                ///< of these, what several deployments need
};

/// An image that cannot be read is added to `damaged`. The sizes of objects are taken from the
/// images that need them.
[[nodiscard]] Result<Space> measure_space(const Sysroot& sysroot,
                                          const std::vector<Deployment>& deployments,
                                          std::vector<Damage>& damaged);

/// Succeeds if another release as large as the running one would fit, were it all new: into the
/// sysroot and onto the ESP, after what nobody needs there has gone, as it would before an update.
/// The entry of the way back needs room too, where it has to be put back.
/// `garbage`: of find_garbage(); nothing where that refuses.
/// Errors: kNoSpace, with what is needed and what would be free; kNotFound (it is not known what
/// runs); those of Sysroot::read_release(), of reading its image, and of the boot loader.
[[nodiscard]] Result<> check_room_for_another(const Sysroot& sysroot,
                                              const boot::BootLoader& loader,
                                              const Inventory& inventory,
                                              const std::optional<Garbage>& garbage);

}  // namespace cfs::deployer
