// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "deployer/environment.h"
#include "deployer/sysroot/deployment.h"
#include "deployer/sysroot/sysroot.h"

namespace cfs::deployer {

/// What the record of a deployment said that is lost or damaged, as far as the stored description
/// of its release and the history tell: it is good if it was healthy once; bad, and held, if it
/// failed or was marked bad after that; otherwise in the state `unproven`. Nothing is written.
/// `unproven`: kStaged, kTrial, or kFetched. kFetched means that nobody has chosen it now: it is
/// bad if it has failed at all. In the others, the trial goes on.
/// Errors: kNotFound (no release that is stored has such a deployment); those of reading.
[[nodiscard]] Result<Deployment> lost_record(const Sysroot& sysroot, const std::string& id,
                                             DeploymentState unproven);

}  // namespace cfs::deployer
