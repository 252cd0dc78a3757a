// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "builder/manifest/manifest.h"
#include "builder/sources/source.h"
#include "lib/base/result.h"
#include "lib/release/description.h"
#include "lib/sysroot/var_policy.h"

namespace cfs::builder {

struct BuildOptions {
  std::string output;      ///< directory to make; replaced when it is an earlier build's output
  std::string store;       ///< object store to use; empty: OUT/objects
  std::string mount_root;  ///< the static cfs-mount-root for the initramfs
  std::string efi_stub;    ///< the EFI stub for the UKI
  Verbosity verbosity = Verbosity::kProgress;
};

struct BuildResult {
  release::ReleaseDescription release;
  std::vector<sysroot::VarRule> var;  ///< what it ships for /var, as separate_var() returns it
  std::vector<std::string> warnings;  ///< for people; nothing that makes the output wrong
};

/// Builds `manifest`: sources, normalisation, rules; then the kernel leaves the tree, the image is
/// written, and initramfs and UKI are made around its digest. The output directory appears whole
/// under its name, or not at all (docs/FORMATS.md, "Build output").
/// Errors: kExists (the output is something else); kUsage (the store lies inside the output);
/// kInvalidInput (sources or rules that do not fit the image, no kernel or several);
/// kUnsupported (the kernel cannot boot a verified root); those of read_boot_programs(), of the
/// sources and of the store; kInterrupted.
[[nodiscard]] Result<BuildResult> build(const Manifest& manifest, const BuildOptions& options);

}  // namespace cfs::builder
