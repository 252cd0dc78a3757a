// SPDX-License-Identifier: Apache-2.0
// Mending what the disk has damaged or lost: in place if the content is right, else by fetching it
// again.
//
// An object is what its name says, whoever gave it: for one nothing has to be signed, and an object
// of a release that the repository no longer offers can be fetched as long as it lies there. How
// large it is says the image, or for the image itself the stored description of its release.
#pragma once

#include <span>
#include <vector>

#include "deployer/fetch/repository.h"
#include "deployer/sysroot/references.h"
#include "lib/tree/objects.h"

namespace cfs::deployer {

/// Gives an object the mode and the fs-verity that it lacks. Returns true if it is right
/// afterwards, every byte; false if that takes another copy. Errors: kInterrupted, those of
/// what_is_wrong().
[[nodiscard]] Result<bool> mend_in_place(const Sysroot& sysroot, const verity::Digest& object);

/// Mends objects, each in place if that is enough. Else they are fetched, and each is put in the
/// place of what has its name, atomically and durably. The repositories are asked in order; one
/// that does not give an object is no reason to stop. Then the kernel is told to forget the old
/// files that nobody has open. Returns those that are not repaired. Errors: kInterrupted;
/// kNoVerity, kInvalidInput (nothing can be fetched into this store).
[[nodiscard]] Result<NotFetched> repair_objects(Sysroot& sysroot, const Environment& environment,
                                                std::span<const net::Url> urls,
                                                std::span<const tree::ObjectReference> objects);

/// Fetches the copy of a deployment's UKI, which its record names by SHA-256.
/// Errors: kNotFound (no description says how it is called); those of Repository::fetch_file().
[[nodiscard]] Result<> repair_uki(Sysroot& sysroot, const Environment& environment,
                                  std::span<const net::Url> urls, const Deployment& deployment);

/// Fetches the description of a release that the repository still offers, and verifies it as an
/// update does. Errors: kNotFound (it is no longer offered, or is another one by now); those of
/// trust::refresh() and trust::fetch_release().
[[nodiscard]] Result<> repair_description(Sysroot& sysroot, const Environment& environment,
                                          std::span<const net::Url> urls,
                                          const Deployment& deployment);

/// Repairs all that the sysroot must have for the deployment to boot: description, image, objects,
/// link and UKI, as far as measuring finds them missing or damaged. Errors: the first one.
[[nodiscard]] Result<> repair_deployment(Sysroot& sysroot, const Environment& environment,
                                         std::span<const net::Url> urls,
                                         const Deployment& deployment);

/// Where a device fetches from: of its configuration, else where its sysroot comes from.
[[nodiscard]] std::vector<net::Url> repository_urls(const Sysroot& sysroot,
                                                    const Environment& environment);

}  // namespace cfs::deployer
