// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cfs::builder {

/// One installed Debian package.
struct Package {
  std::string name;
  std::string version;
  std::string architecture;
};

/// The packages that a dpkg status file calls installed, sorted by name and architecture.
/// Spec: deb822(5); dpkg-query(1), "package status".
[[nodiscard]] std::vector<Package> installed_packages(std::string_view dpkg_status);

/// packages.json (docs/FORMATS.md).
[[nodiscard]] std::string packages_json(const std::vector<Package>& packages);

}  // namespace cfs::builder
