// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "builder/manifest/manifest.h"
#include "builder/rootfs.h"
#include "lib/base/result.h"

namespace cfs::builder {

/// `dir: {path, into, owner}`: a directory of the build host.
[[nodiscard]] SourceKind directory_kind();

struct DirectorySource {
  std::string path;            ///< on the build host, absolute
  std::string into;            ///< directory in the image: "/" or "/a/b"
  std::optional<Owner> owner;  ///< of every entry; none: what the build host says ("keep")
};

/// Reads a directory of the build host into `rootfs`, hard links, xattrs and all. Directories that
/// the image has already keep their attributes, so that an overlay's do not leak into the system's;
/// the root of an image that is empty takes the directory's.
/// Errors: kNotFound, kSourceChanged, those of Merger and of the store.
[[nodiscard]] Result<> import_directory(const DirectorySource& source, Rootfs& rootfs);

}  // namespace cfs::builder
