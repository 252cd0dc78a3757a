// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "deployer/command.h"
#include "deployer/sysroot/sysroot.h"
#include "lib/sysroot/reset_request.h"

namespace cfs::deployer {

/// Asks the next boot to forget what the device has made of /etc and /var, besides what an earlier
/// call has asked for.
[[nodiscard]] Result<> request_reset(Sysroot& sysroot, sysroot::ResetRequest request);

/// What was asked for and has not been done yet. Errors: kCorrupt.
[[nodiscard]] Result<sysroot::ResetRequest> pending_reset(const Sysroot& sysroot);

/// "/etc and /var", with the words for a new identity. `request` is not empty.
[[nodiscard]] std::string describe(const sysroot::ResetRequest& request);

/// `cfs-deploy reset`
[[nodiscard]] RunCommand declare_reset(CLI::App& command);

}  // namespace cfs::deployer
