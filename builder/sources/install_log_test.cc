// SPDX-License-Identifier: Apache-2.0
#include "builder/sources/install_log.h"

#include <gtest/gtest.h>

namespace cfs::builder {
namespace {

TEST(InstallLog, TellsWhatMmdebstrapDoes) {
  struct {
    const char* line;
    const char* description;
  } lines[] = {
      {"I: running --setup-hook directly: /usr/share/x/setup00.sh /tmp/m", ""},
      {"Get:1 http://deb.test/debian bookworm InRelease [151 kB]", ""},
      {"Unpacking usr-is-merged (1) ...", ""},
      {"I: downloading packages with apt...", "downloading packages with apt"},
      {"The following additional packages will be installed:", "downloading packages with apt"},
      {"0 upgraded, 60 newly installed, 0 to remove and 1 not upgraded.",
       "downloading packages with apt"},
      {"Need to get 22.2 MB of archives.", "downloading packages: 0 of 60, 0 B of 22.2 MB"},
      {"Get:1 http://deb.test/debian bookworm/main amd64 libc6 amd64 2.36-9 [2759 kB]",
       "downloading packages: 1 of 60, 2.8 MB of 22.2 MB"},
      {"Get:2 http://deb.test/debian bookworm/main amd64 x all 1 [10.4 kB]",
       "downloading packages: 2 of 60, 2.8 MB of 22.2 MB"},
      {"Fetched 22.2 MB in 1s (20 MB/s)", "downloading packages: 2 of 60, 2.8 MB of 22.2 MB"},
      {"I: extracting archives...", "extracting archives"},
      {"I: installing essential packages...", "installing essential packages"},
      {"Unpacking libc6:amd64 (2.36-9) ...", "unpacking packages: 1 of 60"},
      {"Setting up libc6:amd64 (2.36-9) ...", "configuring packages: 1 of 60"},
      {"Unpacking dpkg (1.21) ...", "unpacking packages: 2 of 60"},
      {"I: installing remaining packages inside the chroot...",
       "installing remaining packages inside the chroot"},
      {"0 upgraded, 3 newly installed, 0 to remove and 0 not upgraded.",
       "installing remaining packages inside the chroot"},
      {"Need to get 5616 B of archives.", "downloading packages: 2 of 63, 2.8 MB of 22.2 MB"},
      {"Get:1 http://deb.test/debian bookworm/main amd64 y all 1 [22.2 MB]",
       "downloading packages: 3 of 63, 25.0 MB of 25.0 MB"},
      {"I: creating tarball...", "creating tarball"},
      {"I: done", "creating tarball"},
  };
  InstallLog log;
  EXPECT_EQ(log.describe(), "");
  for (const auto& [line, description] : lines) {
    log.read(line);
    EXPECT_EQ(log.describe(), description) << line;
  }
}

TEST(InstallLog, OddLinesSayNothing) {
  InstallLog log;
  for (const char* line : {"", "Get:", "Need to get", "newly installed, ", "[",
                           " newly installed, ", "Unpacking", "I: "}) {
    log.read(line);
  }
  EXPECT_EQ(log.step(), "");
}

}  // namespace
}  // namespace cfs::builder
