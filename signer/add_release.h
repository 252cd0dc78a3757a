// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "lib/base/result.h"
#include "lib/base/time.h"
#include "lib/release/description.h"
#include "signer/repository.h"

namespace cfs::signer {

struct AddedRelease {
  release::ReleaseDescription description;  ///< as it will be published
  uint64_t new_objects = 0;                 ///< encoded by this call, the image included
  uint64_t new_bytes = 0;                   ///< their encoded size
  uint64_t download_bytes = 0;              ///< what a device without any object fetches
  uint64_t targets_version = 0;             ///< staged
};

/// Imports the output of a build (docs/FORMATS.md, "Build output") and stages it as a release.
///
/// Everything is checked on the way: that there is one UKI and it boots the image (as a device
/// checks it, and kernel_cmdline::check_new_command_line()); the digest of the image, of every
/// object that the image refers to, of each further file; count and sizes in the description.
/// Objects that the repository has are checked too, and repaired when they are damaged. Objects
/// reach their final names together, after one sync, and the targets metadata comes last: an
/// interruption leaves a repository that is valid and a call that can be repeated.
///
/// Errors: kNothingToDo (this very release is there already); kExists (another release of that name
/// and version, or a file of that name with other content); kRollback (epoch not above those of the
/// name and channel); kDigestMismatch; kNotFound (object or file missing); kInvalidInput; kCorrupt;
/// kNoSpace; kInterrupted; those of Repository::draft, before anything is written.
[[nodiscard]] Result<AddedRelease> add_release(Repository& repository, const KeyDirectory& keys,
                                               const std::string& build_output, UnixTime now);

}  // namespace cfs::signer
