// SPDX-License-Identifier: Apache-2.0
#include "builder/reports/packages.h"

#include <algorithm>
#include <tuple>

#include "lib/json/canonical.h"

namespace cfs::builder {

std::vector<Package> installed_packages(std::string_view dpkg_status) {
  std::vector<Package> packages;
  Package current;
  bool installed = false;
  auto finish = [&] {
    if (installed && !current.name.empty()) packages.push_back(current);
    current = Package{};
    installed = false;
  };
  while (!dpkg_status.empty()) {
    size_t end = std::min(dpkg_status.find('\n'), dpkg_status.size());
    std::string_view line = dpkg_status.substr(0, end);
    dpkg_status.remove_prefix(std::min(end + 1, dpkg_status.size()));
    auto field = [&](std::string_view name) {
      if (line.substr(0, name.size()) != name) return std::string_view();
      return line.substr(name.size());
    };
    if (line.empty()) finish();
    if (auto value = field("Package: "); !value.empty()) current.name = value;
    if (auto value = field("Version: "); !value.empty()) current.version = value;
    if (auto value = field("Architecture: "); !value.empty()) current.architecture = value;
    if (auto value = field("Status: "); !value.empty()) installed = value.ends_with(" installed");
  }
  finish();
  std::sort(packages.begin(), packages.end(), [](const Package& a, const Package& b) {
    return std::tie(a.name, a.architecture) < std::tie(b.name, b.architecture);
  });
  return packages;
}

std::string packages_json(const std::vector<Package>& packages) {
  json::Value::Array list;
  for (const Package& package : packages) {
    json::Value::Object entry;
    entry["name"] = package.name;
    entry["version"] = package.version;
    entry["architecture"] = package.architecture;
    list.emplace_back(std::move(entry));
  }
  return json::to_canonical(std::move(list)) + "\n";
}

}  // namespace cfs::builder
