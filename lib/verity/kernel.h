// SPDX-License-Identifier: Apache-2.0
// The kernel's side of fs-verity. Uses nothing but system calls, so that static programs can link
// it.
#pragma once

#include "lib/base/result.h"
#include "lib/verity/digest.h"

namespace cfs::verity {

/// Asks the kernel for the digest of an fs-verity file.
/// Errors: kNoVerity (not enabled on the file, or the file system or kernel has none);
/// kUnsupported (another hash algorithm).
/// Spec: fsverity.rst, "FS_IOC_MEASURE_VERITY".
[[nodiscard]] Result<Digest> measure(int fd);

/// Enables fs-verity (SHA-256, 4 KiB, no salt, no signature). `fd` must be read-only and nobody may
/// have the file open for writing. Already enabled is success.
/// Errors: kUnsupported (file system or kernel has no fs-verity with 4 KiB blocks); kBusy (a writer
/// is open). Spec: fsverity.rst, "FS_IOC_ENABLE_VERITY".
[[nodiscard]] Result<> enable(int fd);

}  // namespace cfs::verity
