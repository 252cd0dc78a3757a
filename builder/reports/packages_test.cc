// SPDX-License-Identifier: Apache-2.0
#include "builder/reports/packages.h"

#include <gtest/gtest.h>

namespace cfs::builder {
namespace {

TEST(Packages, AreTheInstalledOnesSorted) {
  std::vector<Package> packages = installed_packages(
      "Package: zsh\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.9-4\n"
      "Description: a shell\n Version: not this\n\n"
      "Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n\n"
      "Package: half\nStatus: install ok half-installed\nArchitecture: all\nVersion: 1\n\n\n"
      "Package: libc6\nStatus: hold ok installed\nArchitecture: i386\nVersion: 2\n\n"
      "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2");
  EXPECT_EQ(packages_json(packages),
            "[{\"architecture\":\"amd64\",\"name\":\"libc6\",\"version\":\"2\"},"
            "{\"architecture\":\"i386\",\"name\":\"libc6\",\"version\":\"2\"},"
            "{\"architecture\":\"amd64\",\"name\":\"zsh\",\"version\":\"5.9-4\"}]\n");
}

TEST(Packages, NoneIsAnEmptyList) {
  for (const char* status : {"", "\n\n", "Status: install ok installed\n"}) {
    EXPECT_EQ(packages_json(installed_packages(status)), "[]\n");
  }
}

}  // namespace
}  // namespace cfs::builder
