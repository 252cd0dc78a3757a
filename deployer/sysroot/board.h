// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "deployer/sysroot/copies.h"
#include "lib/base/directory.h"
#include "lib/base/result.h"
#include "lib/release/description.h"
#include "lib/sysroot/layout.h"

namespace cfs::deployer {

/// Errors: kCorrupt; kUnsupported (another schema).
[[nodiscard]] Result<> check_board(const std::string& text);

/// `config.json`. A device that nobody has told what it is has none.
inline constexpr Original kBoardFile{sysroot::kConfig, 64 << 10, check_board,
                                     /*may_be_missing=*/true};

/// What the device itself is: `config.json` (docs/FORMATS.md). "": nobody has said so.
/// Errors: kCorrupt; kUnsupported (another schema).
[[nodiscard]] Result<std::string> read_board(const Directory& cfs);
[[nodiscard]] Result<> write_board(const Directory& cfs, const std::string& board);

/// Errors: kUnsupported unless the release says that it may run on this board, or on all.
[[nodiscard]] Result<> check_compatible(const release::ReleaseDescription& release,
                                        const std::string& board);

}  // namespace cfs::deployer
