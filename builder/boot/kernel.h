// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "builder/contents.h"
#include "lib/base/result.h"
#include "lib/tree/tree.h"

namespace cfs::builder {

/// The kernel of a root file system.
struct KernelImage {
  std::string version;  ///< "6.12.1-cloud-amd64", as in /usr/lib/modules
  std::string image;    ///< content of vmlinuz
};

/// Reads the one kernel in /boot of `tree` and empties /boot, so that the image's digest does not
/// depend on what will contain that digest. Also removes the links to it in the root directory.
/// Errors: kInvalidInput (no kernel, several, or one without modules).
[[nodiscard]] Result<KernelImage> take_kernel(tree::Tree& tree, Contents& contents);

/// The texts that depmod makes of a kernel's modules, borrowed.
struct ModuleIndexes {
  std::string_view dependencies;       ///< modules.dep
  std::string_view builtin;            ///< modules.builtin
  std::string_view soft_dependencies;  ///< modules.softdep; may be empty
  std::string_view aliases;            ///< modules.alias; may be empty
};

/// Paths (relative to the module directory, "kernel/fs/overlayfs/overlay.ko.xz") of the modules
/// called `names` and all that they depend on, in the order in which they can be loaded. Names that
/// are built in need no file. '-' and '_' in names are the same. Soft dependencies come along where
/// they exist, by name or by an alias without wildcards ("crc32c" is crc32c_intel.ko); in a circle
/// what is on its way already is not waited for.
/// Errors: kInvalidInput (no such module, malformed input).
/// Spec: modules.dep(5), modprobe.d(5) "softdep" and "alias", modules.builtin (Linux
/// Documentation/kbuild/kbuild.rst).
[[nodiscard]] Result<std::vector<std::string>> module_load_order(
    const ModuleIndexes& indexes, const std::vector<std::string>& names);

/// The initramfs for composefs roots as an uncompressed cpio archive: /init (`mount_root`, the
/// static cfs-mount-root), the modules called `module_names` with what they depend on, as plain
/// .ko files, /usr/lib/cfs/modules that lists their paths in load order, and the empty directories
/// to mount on. Same input, same bytes. The layout is initramfs/README.md's.
[[nodiscard]] Result<std::string> make_initramfs(const tree::Tree& tree, Contents& contents,
                                                 const std::string& kernel_version,
                                                 const std::vector<std::string>& module_names,
                                                 std::string_view mount_root);

}  // namespace cfs::builder
