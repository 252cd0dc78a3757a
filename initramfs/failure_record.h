// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/base/unique_fd.h"
#include "lib/verity/digest.h"

namespace cfs::initramfs {

/// The sysroot of the file system that is mounted at `disk`, writable if that can be had: the
/// caller has given up on it. Errors: kNotFound (no disk is mounted there, or it has no sysroot);
/// those of opening.
[[nodiscard]] Result<UniqueFd> open_failed_sysroot(const std::string& disk);

/// Why a boot has failed: sysroot::kBootFailure (docs/FORMATS.md, "Device"). For `cfs-deploy`,
/// after the fallback.
struct BootFailure {
  verity::Digest digest;  ///< of the image
  std::string code;
  std::string text;  ///< at most 4 KiB are kept; what is not printable ASCII is replaced
  /// Ids of deployments, in this order: those whose boot has failed since `cfs-deploy` ran last,
  /// and those that were asked for in their place.
  std::vector<std::string> tried;
};

/// BootFailure::tried of the failure before. Empty: there was none, or it cannot be read.
[[nodiscard]] std::vector<std::string> tried_before(int cfs_fd);

/// Leaves it behind in the sysroot `cfs_fd`. Durable when this returns. Errors: those of writing.
[[nodiscard]] Result<> record_failure(int cfs_fd, const BootFailure& failure);

/// The content of that file.
[[nodiscard]] std::string failure_json(const BootFailure& failure);

}  // namespace cfs::initramfs
