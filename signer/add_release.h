// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

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
  uint64_t new_files = 0;                   ///< written by this call, objects included
  uint64_t targets_version = 0;             ///< staged; 0 when the release was there already
  std::vector<std::string> warnings;        ///< what a person should know before publishing
};

/// The fate of an epoch that is more than 10^11 above the last one of its name and channel, or
/// above 0 when there is none.
enum class EpochJump { kRefuse, kAllow };

/// Imports the output of a build (docs/FORMATS.md, "Build output") and stages it as a release.
///
/// Everything is checked on the way: that there is one UKI and it boots the image (as a device
/// checks it, and kernel_cmdline::check_new_command_line()); the digest of the image, of every
/// object that the image refers to, of each further file; count and sizes in the description.
/// Objects and files that the repository has are checked too, and put back when they are damaged or
/// lost, also those of a release that is there already. They reach their final names together,
/// after one sync, and the targets metadata comes last: an interruption leaves a repository that is
/// valid and a call that can be repeated.
///
/// Errors: kNothingToDo (this very release is there already, whole); kExists (another release of
/// that name and version, or a file of that name with other content); kRollback (epoch not above
/// those of the name and channel); kDigestMismatch; kNotFound (object or file missing);
/// kInvalidInput (also an absurd epoch); kCorrupt; kNoSpace; kInterrupted; those of
/// Repository::draft, before anything is written.
[[nodiscard]] Result<AddedRelease> add_release(Repository& repository, const KeyDirectory& keys,
                                               const std::string& build_output, EpochJump jump,
                                               UnixTime now);

}  // namespace cfs::signer
