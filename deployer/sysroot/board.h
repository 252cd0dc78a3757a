// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "lib/base/directory.h"
#include "lib/base/result.h"
#include "lib/release/description.h"

namespace cfs::deployer {

/// What the device itself is: `config.json` (docs/FORMATS.md). "": nobody has said so.
/// Errors: kCorrupt; kUnsupported (another schema).
[[nodiscard]] Result<std::string> read_board(const Directory& cfs);
[[nodiscard]] Result<> write_board(const Directory& cfs, const std::string& board);

/// Errors: kUnsupported unless the release says that it may run on this board, or on all.
[[nodiscard]] Result<> check_compatible(const release::ReleaseDescription& release,
                                        const std::string& board);

}  // namespace cfs::deployer
