// SPDX-License-Identifier: Apache-2.0
// For tests: releases made of a few small files, published in a repository in memory.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "lib/release/description.h"
#include "lib/trust/fake_repository.h"

namespace cfs::deployer {

struct FakeRelease {
  std::string name = "test";
  std::string version;
  std::string channel = "stable";
  uint64_t epoch = 0;
  std::vector<std::string> compatible;
  uint64_t state_version = 0;
  std::string kernel_version = "6.12.0-test";
  int64_t created = 1'700'000'000;
  /// Absolute path → content; longer than 64 bytes becomes an object. Directories are made.
  std::map<std::string, std::string> files;
  /// On the command line in the UKI; empty: the image's digest.
  std::string pin;
};

/// Text of that size that only `seed` determines; does not compress to nothing.
[[nodiscard]] std::string random_text(size_t size_bytes, uint64_t seed);

/// Makes image, objects, UKI and description and adds them to `repository`; offered from its next
/// publish_next() on. All files belong to the caller of the test.
[[nodiscard]] Result<release::ReleaseDescription> publish(trust::FakeRepository& repository,
                                                          const FakeRelease& release);

/// Writes all files of a repository below the directory `path`. Nothing is synced.
[[nodiscard]] Result<> write_repository(const trust::FakeRepository& repository,
                                        const std::string& path);

}  // namespace cfs::deployer
