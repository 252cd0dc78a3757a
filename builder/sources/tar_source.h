// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "builder/manifest/manifest.h"

namespace cfs::builder {

/// `tar: {path, into, strip}`: a tar archive, compressed or not.
[[nodiscard]] SourceKind tar_kind();

}  // namespace cfs::builder
