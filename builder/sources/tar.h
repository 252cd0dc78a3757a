// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "builder/rootfs.h"
#include "lib/base/progress.h"
#include "lib/base/result.h"

namespace cfs::builder {

struct TarPlacement {
  std::string into;  ///< directory of the image that the archive's root becomes ("" or "/": root)
  /// Leading components to drop, counted in the normal path (`.` and empty ones do not count).
  /// Entries with no more than that are left out.
  unsigned strip = 0;
};

/// Reads the tar archive that `fd` (a file or a pipe) delivers and puts its entries into `rootfs`,
/// in one pass and without touching a file system: owners, modes, times, devices, hard links,
/// xattrs, capabilities, ACLs and holes arrive whoever runs this, as GNU tar would extract them as
/// root with --numeric-owner, but for xattrs that is_kept_xattr() drops. Later entries win.
/// Compression is found out. Reads `fd` to its end.
///
/// `name` is for messages.
/// Errors: kCorrupt (TarReader, Decompressor; attributes that no Linux file system takes; access
/// lists by name; whiteouts of OCI layers); kInvalidInput (paths that lead out, entries that cannot
/// be combined, see Merger; a `strip` that leaves nothing of the entries; limits of Tree); those of
/// the store; kInterrupted. Trust: the archive may come from anywhere; its paths never reach the
/// host's file system.
[[nodiscard]] Result<> import_tar_stream(int fd, const std::string& name,
                                         const TarPlacement& placement, Rootfs& rootfs,
                                         Progress& progress);

}  // namespace cfs::builder
