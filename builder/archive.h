// SPDX-License-Identifier: Apache-2.0
// archive.cc is the only file that includes libarchive.
#pragma once

#include <string>

#include "builder/contents.h"
#include "lib/base/progress.h"
#include "lib/base/result.h"
#include "lib/tree/tree.h"

namespace cfs::builder {

struct ArchivePlacement {
  std::string into;    ///< directory of the image that the archive's root becomes ("" or "/": root)
  unsigned strip = 0;  ///< leading components to drop; entries with no more than that are left out
};

/// Reads the tar archive that `fd` (a file or a pipe) delivers and puts its entries into `tree`,
/// the contents into `contents`, in one pass and without touching a file system: owners, modes,
/// devices, hard links, xattrs, capabilities and ACLs arrive whoever runs this. Later entries win.
///
/// `name` is for messages. Compression is found out. Reads `fd` to its end.
/// Errors: kCorrupt (not a tar archive, cut short, a path that leads out); kInvalidInput (entries
/// that cannot be combined, see Merger); those of the store; kInterrupted.
/// Spec: POSIX.1-2017 pax; GNU tar; star's SCHILY.xattr.* and SCHILY.acl.*.
/// Trust: the archive may come from anywhere; its paths never reach the host's file system.
[[nodiscard]] Result<> import_archive(int fd, const std::string& name,
                                      const ArchivePlacement& placement, tree::Tree& tree,
                                      Contents& contents, Progress& progress);

/// The plain content of `data`, which may be compressed in any of the ways above; plain data comes
/// back as it is. Errors: kCorrupt; kInvalidInput when it is larger than `limit_bytes`.
[[nodiscard]] Result<std::string> decompress(const std::string& data, const std::string& name,
                                             size_t limit_bytes);

}  // namespace cfs::builder
