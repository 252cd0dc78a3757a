// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "builder/manifest/manifest.h"
#include "builder/sources/apt_lists.h"
#include "builder/sources/apt_sources.h"
#include "builder/sources/source.h"
#include "lib/base/subprocess.h"

namespace cfs::builder {

/// `debian: {suite, packages, …}`: a Debian root file system, made by mmdebstrap. No root rights:
/// an ordinary user needs user namespaces and the package uidmap.
[[nodiscard]] SourceKind debian_kind();

struct DebianSource {
  std::string suite;
  std::vector<std::string> components;
  /// apt source lines; empty: the build host's own (apt_sources.h).
  std::vector<std::string> mirrors;
  std::string variant;
  std::vector<WantedPackage> packages;
  bool recommends = false;
  std::vector<std::string> dpkg_exclude;  ///< dpkg path-exclude patterns
  std::string suite_place;                ///< yaml::Value::place(), for errors found later
};

/// The mmdebstrap command that writes the root file system of `source` as a tar to its standard
/// output. `mirrors` are sources.list lines, `apt_options` lines of apt.conf.
[[nodiscard]] Command mmdebstrap_command(const DebianSource& source, const SourceContext& context,
                                         const std::vector<std::string>& mirrors,
                                         const std::vector<std::string>& apt_options);

/// Those of `wanted` that apt finds only because it takes a '+' at the end for "install it", which
/// mmdebstrap does not: `bash+`. `names`: of all packages, sorted.
[[nodiscard]] std::vector<MissingPackage> packages_with_a_plus(
    const std::vector<std::string>& wanted, const std::vector<std::string>& names);

/// One error for all `missing` packages of those that are `wanted`, each with its place in the
/// manifest and the name out of `names` that was probably meant.
[[nodiscard]] Error missing_packages_error(const std::string& suite,
                                           const std::vector<WantedPackage>& wanted,
                                           const std::vector<MissingPackage>& missing,
                                           const std::vector<std::string>& names);

}  // namespace cfs::builder
