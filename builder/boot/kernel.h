// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "builder/rootfs.h"
#include "lib/base/result.h"

namespace cfs::builder {

constexpr const char* kModulesDirectory = "/usr/lib/modules/";

/// How a kernel was configured: the options that are `y` or `m`.
class KernelConfig {
 public:
  KernelConfig() = default;
  /// Parses /boot/config-VERSION. Lines that set no option are skipped.
  explicit KernelConfig(std::string_view text);

  [[nodiscard]] bool is_known() const { return !values_.empty(); }
  /// Returns true if the option (CONFIG_…) is `y` or `m`.
  [[nodiscard]] bool is_on(const std::string& option) const { return values_.contains(option); }
  [[nodiscard]] bool is_module(const std::string& option) const;
  /// Returns true if finit_module(2) takes modules with this suffix (".xz") as they are.
  [[nodiscard]] bool unpacks_modules(const std::string& suffix) const;

 private:
  std::map<std::string, char> values_;
};

/// The kernel of a root file system.
struct KernelImage {
  std::string version;  ///< "6.12.1-cloud-amd64", as in /usr/lib/modules
  std::string image;    ///< content of vmlinuz
  KernelConfig config;  ///< unknown when the image has no /boot/config-VERSION
};

/// Reads the one kernel in /boot of `rootfs` and empties /boot, so that the image's digest does not
/// depend on what will contain that digest. Also removes the links to it in the root directory, and
/// makes the directory /sysroot (`mtime_seconds`), where a device shows its disk, unless it is
/// there. Errors: kInvalidInput (no kernel, several, or one without modules); kUnsupported (one
/// that cannot mount a verified root: see check_kernel()).
[[nodiscard]] Result<KernelImage> take_kernel(Rootfs& rootfs, int64_t mtime_seconds);

/// Succeeds if a kernel of this version and configuration can boot a verified root from a built-in
/// initramfs. Of an unknown configuration only the version is looked at.
/// Errors: kUnsupported, naming all that it lacks.
[[nodiscard]] Result<> check_kernel(const std::string& version, const KernelConfig& config);

}  // namespace cfs::builder
