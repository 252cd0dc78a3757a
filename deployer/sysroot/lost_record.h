// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "deployer/environment.h"
#include "deployer/sysroot/deployment.h"
#include "deployer/sysroot/sysroot.h"

namespace cfs::deployer {

/// Makes the record of a deployment again that is lost or damaged, of the stored description of its
/// release and of the history: it is good if it was healthy once, otherwise in the state
/// `unproven`. Errors: kNotFound (no release that is stored has such a deployment); those of
/// reading and writing.
[[nodiscard]] Result<Deployment> restore_record(Sysroot& sysroot, const std::string& id,
                                                DeploymentState unproven);

}  // namespace cfs::deployer
