// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "deployer/command.h"
#include "deployer/sysroot/sysroot.h"

namespace cfs::deployer {

struct InstallOptions {
  std::string disk;         ///< the image to make
  net::Url url;             ///< the repository to install from
  Origin origin;            ///< what the device will update from; its url may differ
  std::string root_json;    ///< trust anchor
  bool recovery = false;    ///< the release is also what boots when nothing else does
  std::string board;        ///< what the device is; "": not said
  uint64_t free_bytes = 0;  ///< room on the root file system, besides that for one more release
};

/// Makes a bootable disk image with the newest release: the same steps as on a device, in a
/// temporary sysroot beside the image, then one file system of it with fs-verity written offline.
/// Works as an ordinary user on a machine without fs-verity. Same release, same trust metadata:
/// same bytes, whoever makes it, with whatever umask. The image appears whole and durable or not at
/// all, under a name that nothing has, or an empty file, of which it keeps the mode. A wrong name
/// or directory, missing programs and a lack of space are found before anything is fetched. Errors:
/// kExists; kInvalidInput (`disk` is no name for a file); kNotFound (a program); those of update()
/// and disk::make_disk.
[[nodiscard]] Result<> install(const InstallOptions& options, const Environment& environment);

/// `cfs-deploy install`
[[nodiscard]] RunCommand declare_install(CLI::App& command);

}  // namespace cfs::deployer
