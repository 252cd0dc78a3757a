// SPDX-License-Identifier: Apache-2.0
// Which file system holds the root. `root=` may fit several: a stick with the same label, a copy of
// the disk. docs/decisions/024-which-disk-holds-the-root.md says why it is decided like this.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "initramfs/failure.h"
#include "initramfs/modules.h"
#include "lib/base/result.h"
#include "lib/base/unique_fd.h"
#include "lib/kernel_cmdline/boot_options.h"

namespace cfs::initramfs {

/// What is known of the disk that the firmware booted from.
enum class BootDisk {
  kUnknown,  ///< the boot loader did not say
  kAwaited,  ///< it is not here, or its partitions may not all be here yet
  kHere,
};

/// A file system that `root=` means and that has the pinned image.
struct Candidate {
  std::string path;
  bool is_on_boot_disk = false;
};

/// The candidate to boot; nullopt: look again. On the disk that the firmware booted from, if there
/// is one; while that disk is awaited only at the last look elsewhere.
/// Errors: kInvalidInput when several are equally good.
[[nodiscard]] Result<std::optional<size_t>> choose_candidate(std::span<const Candidate> candidates,
                                                             BootDisk boot_disk, bool is_last_look);

/// A mounted file system that no path leads to yet, read-only.
struct FoundRoot {
  std::string path;  ///< of the device
  UniqueFd mount;
};

/// Looks at the block devices, and again, with drivers for what is new, when the kernel says that
/// something has changed, until a file system that `root=` means has the pinned image, or
/// `rootdelay=` is over. `more_may_appear`: drivers were loaded just now, and what they found may
/// not be there yet. Errors, with `stage` set accordingly: no such file system; what is wrong with
/// the one there is; several equally good.
[[nodiscard]] Result<FoundRoot> find_root(const kernel_cmdline::BootOptions& options,
                                          ModuleLoader& modules, bool more_may_appear,
                                          Stage& stage);

/// Mends a torn superblock of what `root=` means (torn_superblock.h), where others than find_root()
/// mount it: of what is there now, on the disk that the firmware booted from, if that is known.
/// What cannot be mended is a warning in the kernel's log. Errors: `root=` cannot be used; the
/// devices cannot be listed.
[[nodiscard]] Result<> mend_root_superblock(const kernel_cmdline::BootOptions& options);

}  // namespace cfs::initramfs
