// SPDX-License-Identifier: Apache-2.0
// One entry below /var, as the release ships it or as it is on the device.
#pragma once

#include <sys/stat.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/directory.h"
#include "lib/base/result.h"
#include "lib/verity/digest.h"

namespace cfs::deployer {

/// All that makes an entry what it is: type, owner, mode, extended attributes, and the content of a
/// file, the target of a symlink, the number of a device. Not its times, and not what is below a
/// directory. Two entries with one fingerprint are the same.
using Fingerprint = verity::Sha256Digest;

/// An entry that was looked at.
struct Entry {
  struct stat status = {};
  std::string target;                         ///< symlinks
  std::map<std::string, std::string> xattrs;  ///< without what belongs to this machine (SELinux)
  Fingerprint fingerprint;

  [[nodiscard]] bool is_directory() const { return S_ISDIR(status.st_mode); }
};

/// Looks at `path` ("." too) and reads the file. Nothing when there is no such entry: also when
/// what should be a directory above it is none, or a symlink, which is never followed.
[[nodiscard]] Result<std::optional<Entry>> look_at(const Directory& directory,
                                                   const std::string& path);

/// All paths below a directory, sorted, so that parents come first. Errors: kCorrupt (nested too
/// deep).
[[nodiscard]] Result<std::vector<std::string>> paths_below(const Directory& directory);

/// Makes `name` in the directory `to` like `entry`, which is `path` of `from`: an entry with all
/// its attributes and times, a directory empty. Not synced.
[[nodiscard]] Result<> copy_entry(const Directory& from, const std::string& path,
                                  const Entry& entry, const Directory& to, const std::string& name);

/// Gives the directory `path` the owner, mode and extended attributes of `entry`, and no others.
[[nodiscard]] Result<> set_attributes(const Directory& directory, const std::string& path,
                                      const Entry& entry);

/// Gives `path` the times of `entry`.
[[nodiscard]] Result<> set_times(const Directory& directory, const std::string& path,
                                 const Entry& entry);

}  // namespace cfs::deployer
