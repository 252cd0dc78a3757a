// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "builder/contents.h"
#include "builder/manifest/manifest.h"
#include "builder/sources/apt_sources.h"
#include "lib/base/subprocess.h"
#include "lib/tree/tree.h"

namespace cfs::builder {

/// What a Debian root is made of besides its own description.
struct DebianContext {
  std::string arch;
  std::vector<std::string> more_packages;  ///< the kernel's
  int64_t source_date_epoch = 0;
};

/// The mmdebstrap command that writes the root file system of `source` as a tar to its standard
/// output. `mirrors` are sources.list lines, `apt_options` lines of apt.conf.
[[nodiscard]] Command mmdebstrap_command(const DebianSource& source, const DebianContext& context,
                                         const std::vector<std::string>& mirrors,
                                         const std::vector<std::string>& apt_options);

/// The command for `source` on this machine, whose apt says where packages come from when the
/// source does not. Runs only queries.
/// Errors: kNotFound (mmdebstrap, apt or a source for the suite is missing).
[[nodiscard]] Result<Command> prepare_debian(const DebianSource& source,
                                             const DebianContext& context);

/// Runs `command`, of prepare_debian(), and streams what it makes into `tree` and `contents`. No
/// root rights: an ordinary user needs user namespaces and the package uidmap. `suite` is for the
/// progress display.
/// Errors: kSubprocess with what mmdebstrap said, kNoSpace, and those of import_tar_stream.
[[nodiscard]] Result<> import_debian(const std::string& suite, const Command& command,
                                     tree::Tree& tree, Contents& contents);

}  // namespace cfs::builder
