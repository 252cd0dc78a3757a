// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "deployer/command.h"
#include "deployer/sysroot/history.h"

namespace cfs::deployer {

/// The boots, the newest first, for people.
[[nodiscard]] std::string to_text(const History& history);

/// `cfs-deploy history`
[[nodiscard]] RunCommand declare_history(CLI::App& command);

}  // namespace cfs::deployer
