// SPDX-License-Identifier: Apache-2.0
// Garbage collection.
#pragma once

#include "deployer/command.h"
#include "deployer/sysroot/references.h"
#include "deployer/upkeep/roots.h"
#include "lib/boot/boot_loader.h"

namespace cfs::deployer {

struct GarbageOptions {
  uint64_t keep = 2;  ///< as find_roots()
  /// Of a release that is on its way and has no record yet: the image and its objects. What has
  /// arrived of it stays.
  std::vector<verity::Digest> also;
};

/// What was removed, or would be.
struct Garbage {
  std::vector<Deployment> deployments;  ///< as they were
  store::Removed objects;
  uint64_t disk_bytes = 0;  ///< in the sysroot: objects, UKIs, descriptions, records, old /etc
  uint64_t esp_bytes = 0;   ///< boot entries

  [[nodiscard]] bool empty() const {
    return deployments.empty() && objects.objects == 0 && disk_bytes == 0 && esp_bytes == 0;
  }
};

/// What there is to collect. Nothing is changed. Errors: as collect_garbage().
[[nodiscard]] Result<Garbage> find_garbage(Sysroot& sysroot, const boot::BootLoader& loader,
                                           const Environment& environment,
                                           const Inventory& inventory,
                                           const GarbageOptions& options);

/// Removes what no deployment that must stay needs (find_roots()): boot entries, records, images,
/// UKIs, the /etc of releases, objects. A record that says that its release is held stays until a
/// newer one has proven good. `inventory`: of note_what_booted(); it is brought up to date.
///
/// Whatever instant the power goes, all that stays is whole, and the next call does the rest.
/// Errors: those of find_roots(), and of reading the image of a deployment that stays: then nothing
/// was removed; kBusy (another process reads the objects: all but these were removed);
/// kInterrupted; those of the boot loader.
[[nodiscard]] Result<Garbage> collect_garbage(Sysroot& sysroot, boot::BootLoader& loader,
                                              const Environment& environment, Inventory& inventory,
                                              const GarbageOptions& options);

/// "removed 3 (epoch 3), 120 objects, 34.5 MB, and 20.1 MB on the ESP"
[[nodiscard]] std::string describe(const Garbage& garbage, bool is_dry_run);

/// "34.5 MB, and 20.1 MB on the ESP"
[[nodiscard]] std::string describe_bytes(const Garbage& garbage);

/// Tells what became of garbage that was collected on the way of something else, if there was any.
void tell(const Result<Garbage>& garbage, const Environment& environment);

/// `cfs-deploy gc`
[[nodiscard]] RunCommand declare_gc(CLI::App& command);

}  // namespace cfs::deployer
