// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "lib/base/result.h"
#include "lib/disk/root_entry.h"

namespace cfs::disk {

/// Size of a content. A host file must be a regular file now.
[[nodiscard]] Result<uint64_t> size_of(const Content& content);

/// Is `path` relative, not empty, and of names other than "", "." and ".." of at most 255 bytes?
[[nodiscard]] bool is_plain_path(const std::string& path);

}  // namespace cfs::disk
