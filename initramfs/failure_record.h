// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "lib/base/result.h"
#include "lib/verity/digest.h"

namespace cfs::initramfs {

/// Leaves behind, on the file system mounted at `disk`, why a boot of the image `digest` has
/// failed: sysroot::kBootFailure (docs/FORMATS.md, "Device"). For `cfs-deploy`, after the fallback.
/// It is made writable for that; the caller has given up on it. Durable when this returns.
/// Errors: kNotFound (no disk is mounted there, or it has no sysroot); those of writing.
[[nodiscard]] Result<> record_failure(const std::string& disk, const verity::Digest& digest,
                                      std::string_view code, std::string_view text);

/// The content of that file. At most 4 KiB of `text` are kept; what is not printable ASCII is
/// replaced.
[[nodiscard]] std::string failure_json(const verity::Digest& digest, std::string_view code,
                                       std::string_view text);

}  // namespace cfs::initramfs
