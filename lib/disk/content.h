// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "lib/base/result.h"
#include "lib/disk/root_entry.h"

namespace cfs::disk {

/// Size of a content. A host file must be a regular file now.
[[nodiscard]] Result<uint64_t> size_of(const Content& content);

}  // namespace cfs::disk
