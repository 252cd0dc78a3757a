// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "lib/base/command_io.h"
#include "lib/base/result.h"

namespace cfs::signer {

/// The command `cfs-sign` (CommandFunction of lib/command/program.h).
/// Errors: kUsage for a wrong command line, else those of what was asked for.
[[nodiscard]] Result<int> run(const std::vector<std::string>& arguments, const Io& io);

}  // namespace cfs::signer
