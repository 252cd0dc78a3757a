// SPDX-License-Identifier: Apache-2.0
// `cfs-deploy fsck`: is everything that the installed releases need there and right?
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "deployer/boot_order.h"
#include "deployer/command.h"
#include "deployer/upkeep/needed_objects.h"
#include "lib/boot/boot_loader.h"
#include "lib/json/value.h"

namespace cfs::deployer {

/// What a problem is about.
enum class ProblemKind {
  kDirectory,    ///< one of the sysroot's own
  kFile,         ///< one that the sysroot has once, or its copy
  kObject,       ///< an object; an image is one
  kImageLink,    ///< `images/<digest>`
  kDescription,  ///< `releases/<digest>/release.json`
  kUki,          ///< the copy of a UKI
  kBootEntry,    ///< a deployment's entry, whose id it names
  kBootChoice,   ///< what the boot loader is told to start: the id that it should be
  kRecord,       ///< a record, or a reference to a deployment
};

[[nodiscard]] std::string_view kind_name(ProblemKind kind);

struct Problem {
  ProblemKind kind = ProblemKind::kObject;
  std::string where;    ///< below `<sysroot>/cfs`; of boot entry and choice an entry's id
  std::string problem;  ///< in words
  ObjectUse use = {};   ///< of an object
  bool repaired = false;
  std::optional<Error> left = {};  ///< why it was not repaired, where that was tried
};

struct FsckOptions {
  Depth depth = Depth::kMeasured;
  bool repair = false;
  unsigned tries = SwitchOptions{}.tries;  ///< of a boot entry that is put back and not proven good
};

struct FsckReport {
  uint64_t objects = 0;  ///< looked at
  uint64_t images = 0;
  std::vector<Problem> problems;
  /// 0: nothing is wrong, or no longer. 8: what is left would be repaired, had the network given
  /// it. 7: something else is left.
  [[nodiscard]] int exit_status() const;
};

/// Checks a sysroot and, if that is wanted, repairs it (then opened with Access::kWrite). Nothing
/// but objects that no release needs is ever removed.
///
/// Memory: about 33 bytes an object of the store, and the tree of one image.
/// Errors: those that are not damage: kInterrupted, kIo (the disk as a whole), of the boot loader.
[[nodiscard]] Result<FsckReport> fsck(Sysroot& sysroot, boot::BootLoader& loader,
                                      const Environment& environment, const FsckOptions& options);

[[nodiscard]] std::string to_text(const FsckReport& report);
/// For programs: docs/schema/fsck.json.
[[nodiscard]] json::Value to_json(const FsckReport& report);

/// `cfs-deploy fsck`
[[nodiscard]] RunCommand declare_fsck(CLI::App& command);

}  // namespace cfs::deployer
