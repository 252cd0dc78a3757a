// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "lib/base/result.h"
#include "lib/base/unique_fd.h"
#include "lib/verity/digest.h"

namespace cfs::initramfs {

/// The sysroot of the file system that is mounted at `disk`, writable: the caller has given up on
/// it. Errors: kNotFound (no disk is mounted there, or it has no sysroot); those of mounting.
[[nodiscard]] Result<UniqueFd> open_writable_sysroot(const std::string& disk);

/// Leaves behind, in the sysroot `cfs_fd`, why a boot of the image `digest` has failed:
/// sysroot::kBootFailure (docs/FORMATS.md, "Device"). For `cfs-deploy`, after the fallback. Durable
/// when this returns. Returns true if the boot before this one has left one of the same image.
/// Errors: those of writing.
[[nodiscard]] Result<bool> record_failure(int cfs_fd, const verity::Digest& digest,
                                          std::string_view code, std::string_view text);

/// The content of that file. At most 4 KiB of `text` are kept; what is not printable ASCII is
/// replaced.
[[nodiscard]] std::string failure_json(const verity::Digest& digest, std::string_view code,
                                       std::string_view text);

}  // namespace cfs::initramfs
