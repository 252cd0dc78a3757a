// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/verity/digest.h"

namespace cfs::mount {

/// What the mount asks of fs-verity on the objects.
enum class Verity {
  kNone,      ///< contents are not checked
  kTry,       ///< checked when this kernel's overlayfs can (6.6)
  kRequired,  ///< a file whose object is not what the image says cannot be read
};

enum class Access { kReadOnly, kReadWrite };

/// How the kernel reads the image.
enum class Backing {
  kFile,  ///< EROFS mounted straight from the file (kernel 6.12)
  kLoop,  ///< through a loop device
};

struct ComposefsOptions {
  std::vector<std::string> object_directories;    ///< stores, searched in this order; at least one
  std::optional<verity::Digest> expected_digest;  ///< of the image; implies Verity::kRequired
  Verity verity = Verity::kRequired;
  Access access = Access::kReadOnly;
  unsigned attributes = 0;      ///< MOUNT_ATTR_* besides RDONLY (mount_setattr(2))
  std::string upper_directory;  ///< with work_directory: a writable layer on top
  std::string work_directory;
  int user_namespace_fd = -1;        ///< ≥ 0: id-mapped to that user namespace
  std::string source = "composefs";  ///< what /proc/mounts shows as the device
  std::string staging_directory;     ///< where the image is mounted meanwhile; empty: below /tmp
  Backing backing = Backing::kFile;  ///< kFile falls back to kLoop where the kernel needs it
};

/// Mounts the composefs image `image_fd` (open for reading) on the directory `target`. When a
/// digest is expected, the kernel's fs-verity measurement of this very descriptor is compared
/// before anything is mounted, and this very file is what gets mounted. Returns the backing used.
///
/// Errors: kNoVerity, kDigestMismatch (the image); kCorrupt (not a composefs image); kUnsupported
/// (kernel); else with errno and the kernel's own text. On an error nothing stays mounted.
/// Specification: COMPOSEFS-FORMAT.md §16. Trust: with an expected digest everything read below
/// `target` is what that digest vouches for, or reading fails with EIO.
[[nodiscard]] Result<Backing> mount_composefs(int image_fd, const std::string& target,
                                              const ComposefsOptions& options);

/// Compares the kernel's fs-verity measurement of `image_fd` with `expected`.
/// Errors: kNoVerity, kDigestMismatch.
[[nodiscard]] Result<> check_image_digest(int image_fd, const verity::Digest& expected);

/// The option string for mount(2) of kernels before 6.7; `data_separator` is "::", or ":" before
/// 6.5. Exposed for its test.
[[nodiscard]] std::string old_overlay_options(const std::string& image_mount,
                                              const ComposefsOptions& options,
                                              const std::string& data_separator);

}  // namespace cfs::mount
