// SPDX-License-Identifier: Apache-2.0
// Which of a kernel's modules go into the initramfs, and how cfs-mount-root finds them there.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"

namespace cfs::builder {

/// The texts that depmod makes of a kernel's modules, borrowed.
struct ModuleIndexes {
  std::string_view dependencies;       ///< modules.dep
  std::string_view builtin;            ///< modules.builtin
  std::string_view soft_dependencies;  ///< modules.softdep; may be empty
  std::string_view aliases;            ///< modules.alias; may be empty
};

/// What the initramfs shall be able to load.
struct ModuleWishes {
  std::vector<std::string> always;    ///< loaded at every boot; must exist
  std::vector<std::string> mounting;  ///< loaded at every boot, by a file system's name; must exist
  std::vector<std::string> on_demand;  ///< loaded when somebody asks; may be absent
  std::vector<std::string> late;       ///< as on_demand, when no disk behind those has the root
};

/// Where one module of the initramfs comes from.
struct PlannedModule {
  std::string path;         ///< relative to the module directory
  bool every_boot = false;  ///< loaded at every boot
};

/// The modules of an initramfs.
struct ModulePlan {
  std::map<std::string, PlannedModule> modules;            ///< by name, "virtio_blk"
  std::vector<std::string> always;                         ///< names, in load order
  std::map<std::string, std::vector<std::string>> orders;  ///< name → what to load for it, in order
  std::vector<std::pair<std::string, std::string>> aliases;  ///< pattern, name
  std::vector<std::string> late;                             ///< names in `orders`
};

/// Finds the modules that `wishes` names, all that they depend on, and in which order they can be
/// loaded. Names that are built in need no file. '-' and '_' in names are the same. Soft
/// dependencies come along where they exist, by name or by an alias without wildcards ("crc32c" is
/// crc32c_intel.ko); in a circle what is on its way already is not waited for.
/// Errors: kInvalidInput (no such module, malformed input).
/// Spec: modules.dep(5), modprobe.d(5) "softdep" and "alias", modules.builtin (Linux
/// Documentation/kbuild/kbuild.rst).
[[nodiscard]] Result<ModulePlan> plan_modules(const ModuleIndexes& indexes,
                                              const ModuleWishes& wishes);

/// The disk drivers of a group of manifest.h's kDriverGroups.
struct DriverGroup {
  std::string_view name;
  /// Host controllers and the disks behind them. A kernel may lack some.
  std::vector<std::string> modules;
  bool late = false;  ///< probing them takes long
};
[[nodiscard]] const DriverGroup& driver_group(std::string_view name);

/// Returns true if the kernel has the module `name`, built in or not.
[[nodiscard]] bool has_module(const ModuleIndexes& indexes, std::string_view name);

/// Names of the modules that compute SHA-256 faster than the kernel's generic code on some
/// processor, by whose features they are found.
[[nodiscard]] std::vector<std::string> sha256_modules(const ModuleIndexes& indexes);

/// Files of firmware that a plain (uncompressed) module names; none when it is no ELF file.
/// Trust: any bytes.
[[nodiscard]] std::vector<std::string> firmware_of_module(std::string_view module);

}  // namespace cfs::builder
