// SPDX-License-Identifier: Apache-2.0
// For tests: what `cfs-build` would hand to `cfs-sign`, made of a few small files in milliseconds.
#pragma once

#include <map>
#include <string>

#include "lib/release/description.h"
#include "lib/tree/tree.h"

namespace cfs::tests {

struct TestRelease {
  std::string name = "test";
  std::string version;
  std::string channel = "stable";
  uint64_t epoch = 0;
  /// Absolute path → content; longer than 64 bytes becomes an object. Directories are made.
  std::map<std::string, std::string> files;
};

/// Text of that size that only `seed` determines; does not compress to nothing.
[[nodiscard]] std::string random_text(size_t size_bytes, uint64_t seed);

/// Writes a build's output to the new directory `path`. Everything belongs to the caller; /var
/// gets, besides the files, a symlink and a hard link: /var/lib/link → target, /var/lib/second.
[[nodiscard]] Result<release::ReleaseDescription> make_build_output(const TestRelease& release,
                                                                    const std::string& path);

}  // namespace cfs::tests
