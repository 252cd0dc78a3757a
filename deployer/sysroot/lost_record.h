// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "deployer/environment.h"
#include "deployer/sysroot/references.h"
#include "deployer/sysroot/sysroot.h"

namespace cfs::deployer {

/// What the record of a deployment said that is lost or damaged, as far as the stored description
/// of its release and the history tell: it is good if it was healthy once; bad, and held, if it
/// was given up or marked bad after that; otherwise in the state `unproven`. Nothing is written.
/// `unproven`: what else is known. kGood: a reference says so that only a good one has. kStaged,
/// kTrial: the trial goes on. kFetched: nobody has chosen it now; it is bad if it has failed.
/// Errors: kNotFound (no release that is stored has such a deployment); those of reading.
[[nodiscard]] Result<Deployment> lost_record(const Sysroot& sysroot, const std::string& id,
                                             DeploymentState unproven);

/// Why a release must be taken for held though no record that can be read says so: the history says
/// that a deployment of it whose record is lost has failed, or such a record is damaged, and
/// nothing says that it was good. Nothing: no reason; also if the stored description of that image,
/// as far as there is one, has an earlier epoch. Errors: those of reading.
[[nodiscard]] Result<std::optional<Reason>> held_by_lost_record(
    const Sysroot& sysroot, const Inventory& inventory, const release::ReleaseDescription& release);

}  // namespace cfs::deployer
