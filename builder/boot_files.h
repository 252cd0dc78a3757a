// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "builder/boot/kernel.h"
#include "builder/manifest/manifest.h"
#include "builder/output.h"
#include "builder/rootfs.h"
#include "lib/base/result.h"
#include "lib/release/description.h"

namespace cfs::builder {

/// The programs of the build host that go into the UKI.
struct BootPrograms {
  std::string mount_root;
  std::string efi_stub;
};

/// Reads both. Errors, which name the path: kNotFound, kInvalidInput (no static program),
/// kCorrupt (the stub is no EFI program).
[[nodiscard]] Result<BootPrograms> read_boot_programs(const std::string& mount_root_path,
                                                      const std::string& efi_stub_path);

/// Makes vmlinuz, initramfs, cmdline and the UKI around the image of `description`; adds them to
/// the description. Returns warnings: firmware that the image lacks.
[[nodiscard]] Result<std::vector<std::string>> write_boot_files(
    const Manifest& manifest, const BootPrograms& programs, const KernelImage& kernel,
    Rootfs& rootfs, const Output& output, release::ReleaseDescription& description);

}  // namespace cfs::builder
