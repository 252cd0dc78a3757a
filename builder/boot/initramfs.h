// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "builder/boot/kernel.h"
#include "builder/rootfs.h"
#include "lib/base/result.h"

namespace cfs::builder {

/// What the manifest says about the initramfs.
struct InitramfsWishes {
  std::vector<std::string> modules;  ///< loaded at every boot besides what mounting needs
  /// Groups of disk drivers (kDriverGroups) to take along; none: all, as far as the kernel has
  /// them.
  std::optional<std::vector<std::string>> drivers;
};

struct Initramfs {
  std::string archive;                ///< cpio, not compressed
  std::vector<std::string> warnings;  ///< firmware that the image lacks
};

/// The initramfs for the root `rootfs`, which is only read: /init (`mount_root`, the static
/// cfs-mount-root), the modules that mounting needs and disk drivers, the index by which
/// cfs-mount-root finds them, the firmware that they name, and empty directories to mount on.
/// Modules that every boot loads are stored plain; others stay compressed as they are in the image
/// where the kernel can unpack them. Same input, same bytes. The layout is initramfs/README.md's.
/// Errors: kInvalidInput (a module or a driver of a named group does not exist; `mount_root` is not
/// a static program).
[[nodiscard]] Result<Initramfs> make_initramfs(Rootfs& rootfs, const KernelImage& kernel,
                                               const InitramfsWishes& wishes,
                                               std::string_view mount_root);

/// kInvalidInput unless `program` is an ELF program that needs no dynamic loader: in the initramfs
/// there is none. `name` is for the message.
[[nodiscard]] Result<> check_static_program(std::string_view program, const std::string& name);

}  // namespace cfs::builder
