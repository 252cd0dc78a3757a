// SPDX-License-Identifier: Apache-2.0
#include "builder/boot/kernel.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <span>
#include <unordered_map>
#include <unordered_set>

#include "builder/boot/cpio.h"
#include "builder/sources/decompress.h"
#include "lib/base/check.h"

namespace cfs::builder {
namespace {

constexpr size_t kMaxKernelBytes = 256 << 20;
constexpr size_t kMaxModuleBytes = 64 << 20;
constexpr size_t kMaxModuleIndexBytes = 16 << 20;
constexpr size_t kMaxModuleListBytes = 64 << 10;  // what cfs-mount-root reads at most
constexpr std::string_view kKernelPrefix = "vmlinuz-";
constexpr const char* kModulesDirectory = "/usr/lib/modules/";

/// The kernel takes '-' and '_' in names of modules for the same.
std::string with_underscores(std::string_view text) {
  std::string name(text);
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

/// "virtio_blk" from "kernel/drivers/block/virtio-blk.ko.xz".
std::string module_name(std::string_view path) {
  path.remove_prefix(path.rfind('/') + 1);  // npos + 1 == 0
  return with_underscores(path.substr(0, path.find(".ko")));
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

/// Which modules to load, in which order: a walk through the dependencies, deepest first, with a
/// stack of its own because a chain of them may be longer than ours.
class LoadOrder {
 public:
  explicit LoadOrder(const ModuleIndexes& indexes) {
    for (std::string_view line : split(indexes.dependencies, '\n')) {
      size_t colon = line.find(':');
      if (colon == std::string_view::npos) continue;
      std::string_view path = line.substr(0, colon);
      dependencies_[path] = split(line.substr(colon + 1), ' ');
      path_of_[module_name(path)] = path;
    }
    for (std::string_view line : split(indexes.aliases, '\n')) {  // "alias PATTERN MODULE"
      std::vector<std::string_view> words = split(line, ' ');
      if (words.size() != 3 || words[0] != "alias") continue;
      aliases_[with_underscores(words[1])].push_back(path_of(with_underscores(words[2])));
    }
    for (std::string_view line : split(indexes.soft_dependencies, '\n')) {
      // "softdep MODULE [pre: NAME…] [post: NAME…]", several lines a module
      std::vector<std::string_view> words = split(line, ' ');
      if (words.size() < 2 || words[0] != "softdep") continue;
      SoftDependencies& soft = soft_dependencies_[with_underscores(words[1])];
      std::vector<std::string_view>* list = nullptr;
      for (std::string_view word : std::span(words).subspan(2)) {
        if (word == "pre:") {
          list = &soft.before;
        } else if (word == "post:") {
          list = &soft.after;
        } else if (list != nullptr) {
          list->push_back(word);
        }
      }
    }
  }

  /// Empty when there is no such module.
  std::string_view path_of(const std::string& name) const {
    auto found = path_of_.find(name);
    return found == path_of_.end() ? std::string_view() : found->second;
  }

  Result<> add(std::string_view wanted) {
    struct Step {
      std::string_view path;
      enum { kVisit, kAppend } action;
    };
    std::vector<Step> todo = {{wanted, Step::kVisit}};
    while (!todo.empty()) {
      auto [path, action] = todo.back();
      todo.pop_back();
      if (action == Step::kAppend) {
        order_.emplace_back(path);
        continue;
      }
      if (!seen_.insert(path).second) continue;
      auto found = dependencies_.find(path);
      if (found == dependencies_.end()) {
        return make_error(ErrorCode::kInvalidInput,
                          fmt::format("modules.dep says nothing about '{}'", path));
      }
      // What is pushed last comes first: what it depends on, of which modules.dep names last what
      // must be loaded first; then what should be there before it, itself, and what after it.
      auto soft = soft_dependencies_.find(module_name(path));
      bool has_soft = soft != soft_dependencies_.end();
      auto push_optional = [&](const std::vector<std::string_view>& names) {
        for (auto name = names.rbegin(); name != names.rend(); ++name) {
          for (std::string_view module : paths_of_optional(*name)) {
            todo.push_back({module, Step::kVisit});
          }
        }
      };
      if (has_soft) push_optional(soft->second.after);
      todo.push_back({path, Step::kAppend});
      if (has_soft) push_optional(soft->second.before);
      for (std::string_view dependency : found->second) todo.push_back({dependency, Step::kVisit});
    }
    return {};
  }

  std::vector<std::string> take() { return std::move(order_); }

 private:
  struct SoftDependencies {
    std::vector<std::string_view> before;
    std::vector<std::string_view> after;
  };

  /// The modules that a soft dependency means: the one of that name, or those with that alias. None
  /// when it is built in or missing.
  std::vector<std::string_view> paths_of_optional(std::string_view raw_name) const {
    std::string name = with_underscores(raw_name);
    if (std::string_view path = path_of(name); !path.empty()) return {path};
    auto found = aliases_.find(name);
    if (found == aliases_.end()) return {};
    std::vector<std::string_view> paths = found->second;
    std::erase(paths, std::string_view());  // an alias of something that modules.dep lacks
    return paths;
  }

  std::unordered_map<std::string_view, std::vector<std::string_view>> dependencies_;
  std::unordered_map<std::string, std::string_view> path_of_;
  std::unordered_map<std::string, std::vector<std::string_view>> aliases_;
  std::unordered_map<std::string, SoftDependencies> soft_dependencies_;
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

Result<std::vector<std::string>> module_load_order(const ModuleIndexes& indexes,
                                                   const std::vector<std::string>& names) {
  LoadOrder order(indexes);
  std::set<std::string> builtin;
  for (std::string_view path : split(indexes.builtin, '\n')) builtin.insert(module_name(path));
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
  auto index = [&](const char* name) {
    return read_tree_file(tree, contents, folder + name, kMaxModuleIndexBytes);
  };
  auto optional_index = [&](const char* name) -> Result<std::string> {
    if (tree.find(folder + name) == nullptr) return std::string();
    return index(name);
  };
  std::string dependencies = CFS_TRY(index("modules.dep"));
  std::string builtin = CFS_TRY(index("modules.builtin"));
  std::string soft_dependencies = CFS_TRY(optional_index("modules.softdep"));
  std::string aliases = CFS_TRY(optional_index("modules.alias"));
  std::vector<std::string> order =
      CFS_TRY(module_load_order({.dependencies = dependencies,
                                 .builtin = builtin,
                                 .soft_dependencies = soft_dependencies,
                                 .aliases = aliases},
                                module_names));

  std::map<std::string, std::string> files;  // by path, so that the order is of names
  std::string list;
  for (const std::string& path : order) {
    std::string packed = CFS_TRY(read_tree_file(tree, contents, folder + path, kMaxModuleBytes));
    std::string plain_path = folder + path.substr(0, path.rfind(".ko") + 3);
    files[plain_path.substr(1)] =
        CFS_TRY(decompress(packed, "'" + folder + path + "'", kMaxModuleBytes));
    list += plain_path + "\n";
  }
  if (list.size() > kMaxModuleListBytes) {
    return make_error(ErrorCode::kInvalidInput,
                      fmt::format("the initramfs would hold {} modules; cfs-mount-root reads {} "
                                  "bytes of their list, it has {}",
                                  order.size(), kMaxModuleListBytes, list.size()))
        .with_hint("name fewer in kernel.initramfs.modules");
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
