// SPDX-License-Identifier: Apache-2.0
#include "builder/boot/kernel.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <span>

namespace cfs::builder {
namespace {

constexpr size_t kMaxKernelBytes = 256 << 20;
constexpr size_t kMaxConfigBytes = 16 << 20;
constexpr std::string_view kKernelPrefix = "vmlinuz-";

/// The first kernel whose overlayfs has the option `verity=`.
constexpr unsigned kFirstMajor = 6;
constexpr unsigned kFirstMinor = 6;

/// One of the options must be on. The first is the one that messages name.
struct Requirement {
  std::vector<const char*> options;
  const char* what;
};

const std::vector<Requirement>& requirements() {
  static const std::vector<Requirement> list = {
      {{"CONFIG_FS_VERITY"}, "no fs-verity"},
      {{"CONFIG_OVERLAY_FS"}, "no overlayfs"},
      {{"CONFIG_EROFS_FS"}, "no EROFS"},
      {{"CONFIG_EROFS_FS_XATTR"}, "no extended attributes in EROFS"},
      {{"CONFIG_EROFS_FS_BACKED_BY_FILE", "CONFIG_BLK_DEV_LOOP"},
       "neither EROFS from a file nor loop devices"},
      {{"CONFIG_EXT4_FS", "CONFIG_BTRFS_FS"}, "no file system with fs-verity for the disk"},
      {{"CONFIG_BLK_DEV_INITRD"}, "no initramfs"},
      {{"CONFIG_DEVTMPFS"}, "no devtmpfs"},
      {{"CONFIG_TMPFS"}, "no tmpfs"},
  };
  return list;
}

}  // namespace

KernelConfig::KernelConfig(std::string_view text) {
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    size_t equals = line.find('=');
    if (!line.starts_with("CONFIG_") || equals == std::string_view::npos) continue;
    std::string_view value = line.substr(equals + 1);
    if (value == "y" || value == "m") values_[std::string(line.substr(0, equals))] = value[0];
  }
}

bool KernelConfig::is_module(const std::string& option) const {
  auto found = values_.find(option);
  return found != values_.end() && found->second == 'm';
}

bool KernelConfig::unpacks_modules(const std::string& suffix) const {
  return is_on("CONFIG_MODULE_DECOMPRESS") &&
         ((suffix == ".xz" && is_on("CONFIG_MODULE_COMPRESS_XZ")) ||
          (suffix == ".zst" && is_on("CONFIG_MODULE_COMPRESS_ZSTD")) ||
          (suffix == ".gz" && is_on("CONFIG_MODULE_COMPRESS_GZIP")));
}

Result<KernelImage> take_kernel(Rootfs& rootfs, int64_t mtime_seconds) {
  tree::Tree& tree = rootfs.tree;
  tree::Node* boot = tree.find("/boot");
  std::vector<tree::Node*> kernels;
  if (boot != nullptr) {
    for (tree::Node* node : boot->children()) {
      if (node->name().starts_with(kKernelPrefix)) kernels.push_back(node);
    }
  }
  if (kernels.size() != 1) {
    std::string found;
    for (const tree::Node* node : kernels) found += " " + node->path();
    return make_error(ErrorCode::kInvalidInput,
                      kernels.empty() ? "no source brings a kernel: there is no /boot/vmlinuz-*"
                                      : "the sources bring several kernels:" + found)
        .with_hint("name one package in kernel.package, or drop the section 'kernel'");
  }
  KernelImage kernel;
  kernel.version = kernels[0]->name().substr(kKernelPrefix.size());
  kernel.image = CFS_TRY(rootfs.contents.read(*kernels[0], kMaxKernelBytes));
  if (tree.find(kModulesDirectory + kernel.version) == nullptr) {
    return make_error(ErrorCode::kInvalidInput,
                      fmt::format("the image has the kernel {} but no {}{}", kernel.version,
                                  kModulesDirectory, kernel.version));
  }
  if (const tree::Node* config = tree.find("/boot/config-" + kernel.version)) {
    kernel.config = KernelConfig(CFS_TRY(rootfs.contents.read(*config, kMaxConfigBytes)));
  }
  CFS_TRY(check_kernel(kernel.version, kernel.config));
  while (!boot->children().empty()) tree.remove(*boot->children().back());
  for (const char* name : {"vmlinuz", "vmlinuz.old", "initrd.img", "initrd.img.old"}) {
    tree::Node* link = tree.child(tree.root(), name);
    if (link != nullptr && link->inode().is_symlink()) tree.remove(*link);
  }
  if (tree.child(tree.root(), "sysroot") == nullptr) {
    CFS_TRY(
        tree.add(tree.root(), "sysroot", {.mode = S_IFDIR | 0755, .mtime = {mtime_seconds, 0}}));
  }
  return kernel;
}

Result<> check_kernel(const std::string& version, const KernelConfig& config) {
  std::string lacks;
  unsigned major = 0;
  unsigned minor = 0;
  const char* end = version.data() + version.size();
  auto first = std::from_chars(version.data(), end, major);
  if (first.ec == std::errc() && first.ptr != end && *first.ptr == '.' &&
      std::from_chars(first.ptr + 1, end, minor).ec == std::errc() &&
      std::pair(major, minor) < std::pair(kFirstMajor, kFirstMinor)) {
    lacks = fmt::format("it is older than {}.{}, in which overlayfs learned to check fs-verity",
                        kFirstMajor, kFirstMinor);
  }
  if (config.is_known()) {
    for (const Requirement& requirement : requirements()) {
      if (std::ranges::any_of(requirement.options,
                              [&](const char* option) { return config.is_on(option); })) {
        continue;
      }
      lacks += fmt::format("{}{} ({} is not set)", lacks.empty() ? "" : "; ", requirement.what,
                           fmt::join(requirement.options, ", "));
    }
  }
  if (lacks.empty()) return {};
  return make_error(ErrorCode::kUnsupported,
                    fmt::format("the kernel {} cannot boot a verified root: {}", version, lacks))
      .with_hint(
          "name another kernel.package, as linux-image-6.12-amd64 of Debian 12's security "
          "archive");
}

}  // namespace cfs::builder
