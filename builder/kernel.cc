// SPDX-License-Identifier: Apache-2.0
#include "builder/kernel.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "builder/archive.h"
#include "builder/cpio.h"

namespace cfs::builder {
namespace {

constexpr size_t kMaxKernelBytes = 256 << 20;
constexpr size_t kMaxModuleBytes = 64 << 20;
constexpr size_t kMaxModuleIndexBytes = 16 << 20;
constexpr std::string_view kKernelPrefix = "vmlinuz-";
constexpr const char* kModulesDirectory = "/usr/lib/modules/";

/// "virtio_blk" from "kernel/drivers/block/virtio-blk.ko.xz".
std::string module_name(std::string_view path) {
  path.remove_prefix(path.rfind('/') + 1);  // npos + 1 == 0
  std::string name(path.substr(0, path.find(".ko")));
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> pieces;
  while (!text.empty()) {
    size_t end = std::min(text.find(separator), text.size());
    if (end > 0) pieces.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return pieces;
}

class LoadOrder {
 public:
  explicit LoadOrder(std::string_view modules_dep) {
    for (std::string_view line : split(modules_dep, '\n')) {
      size_t colon = line.find(':');
      if (colon == std::string_view::npos) continue;
      std::string_view path = line.substr(0, colon);
      dependencies_[path] = split(line.substr(colon + 1), ' ');
      path_of_[module_name(path)] = path;
    }
  }

  /// Empty when there is no such module.
  std::string_view path_of(const std::string& name) const {
    auto found = path_of_.find(name);
    return found == path_of_.end() ? std::string_view() : found->second;
  }

  Result<> add(std::string_view path) {
    if (!seen_.insert(path).second) return {};
    auto found = dependencies_.find(path);
    if (found == dependencies_.end()) {
      return make_error(ErrorCode::kInvalidInput,
                        fmt::format("modules.dep says nothing about '{}'", path));
    }
    // modules.dep lists what must be loaded first last.
    for (auto it = found->second.rbegin(); it != found->second.rend(); ++it) CFS_TRY(add(*it));
    order_.emplace_back(path);
    return {};
  }

  std::vector<std::string> take() { return std::move(order_); }

 private:
  std::unordered_map<std::string_view, std::vector<std::string_view>> dependencies_;
  std::unordered_map<std::string, std::string_view> path_of_;
  std::unordered_set<std::string_view> seen_;
  std::vector<std::string> order_;
};

Result<std::string> read_tree_file(const tree::Tree& tree, Contents& contents,
                                   const std::string& path, size_t limit_bytes) {
  const tree::Node* node = tree.find(path);
  if (node == nullptr) {
    return make_error(ErrorCode::kInvalidInput, "the image has no '" + path + "'");
  }
  return contents.read(*node, limit_bytes);
}

}  // namespace

Result<KernelImage> take_kernel(tree::Tree& tree, Contents& contents) {
  tree::Node* boot = tree.find("/boot");
  std::vector<tree::Node*> kernels;
  if (boot != nullptr) {
    for (tree::Node* node : boot->children()) {
      if (node->name().substr(0, kKernelPrefix.size()) == kKernelPrefix) kernels.push_back(node);
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
  kernel.image = CFS_TRY(contents.read(*kernels[0], kMaxKernelBytes));
  if (tree.find(kModulesDirectory + kernel.version) == nullptr) {
    return make_error(ErrorCode::kInvalidInput,
                      fmt::format("the image has the kernel {} but no {}{}", kernel.version,
                                  kModulesDirectory, kernel.version));
  }
  while (!boot->children().empty()) tree.remove(*boot->children().back());
  for (const char* name : {"vmlinuz", "vmlinuz.old", "initrd.img", "initrd.img.old"}) {
    tree::Node* link = tree.child(tree.root(), name);
    if (link != nullptr && link->inode().is_symlink()) tree.remove(*link);
  }
  return kernel;
}

Result<std::vector<std::string>> module_load_order(std::string_view modules_dep,
                                                   std::string_view modules_builtin,
                                                   const std::vector<std::string>& names) {
  LoadOrder order(modules_dep);
  std::set<std::string> builtin;
  for (std::string_view path : split(modules_builtin, '\n')) builtin.insert(module_name(path));
  for (const std::string& wanted : names) {
    std::string name = module_name(wanted);
    if (builtin.count(name) > 0) continue;
    std::string_view path = order.path_of(name);
    if (path.empty()) {
      return make_error(ErrorCode::kInvalidInput,
                        "the kernel has no module '" + wanted + "', built in or not")
          .with_hint("correct kernel.initramfs.modules");
    }
    CFS_TRY(order.add(path));
  }
  return order.take();
}

Result<std::string> make_initramfs(const tree::Tree& tree, Contents& contents,
                                   const std::string& kernel_version,
                                   const std::vector<std::string>& module_names,
                                   std::string_view mount_root) {
  std::string folder = kModulesDirectory + kernel_version + "/";
  std::string dependencies =
      CFS_TRY(read_tree_file(tree, contents, folder + "modules.dep", kMaxModuleIndexBytes));
  std::string builtin =
      CFS_TRY(read_tree_file(tree, contents, folder + "modules.builtin", kMaxModuleIndexBytes));
  std::vector<std::string> order = CFS_TRY(module_load_order(dependencies, builtin, module_names));

  std::map<std::string, std::string> files;  // by path, so that the order is of names
  std::string list;
  for (const std::string& path : order) {
    std::string packed = CFS_TRY(read_tree_file(tree, contents, folder + path, kMaxModuleBytes));
    std::string plain_path = folder + path.substr(0, path.rfind(".ko") + 3);
    files[plain_path.substr(1)] =
        CFS_TRY(decompress(packed, "'" + folder + path + "'", kMaxModuleBytes));
    list += plain_path + "\n";
  }
  files["usr/lib/cfs/modules"] = list;

  std::set<std::string> directories = {"dev", "proc", "run", "sys", "sysroot"};
  for (const auto& [path, content] : files) {
    for (size_t slash = path.find('/'); slash != std::string::npos;
         slash = path.find('/', slash + 1)) {
      directories.insert(path.substr(0, slash));
    }
  }
  CpioWriter cpio;
  cpio.add("init", S_IFREG | 0755, mount_root);
  for (const std::string& path : directories) cpio.add(path, S_IFDIR | 0755, "");
  for (const auto& [path, content] : files) cpio.add(path, S_IFREG | 0644, content);
  return cpio.finish();
}

}  // namespace cfs::builder
