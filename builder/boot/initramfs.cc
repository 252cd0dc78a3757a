// SPDX-License-Identifier: Apache-2.0
#include "builder/boot/initramfs.h"

#include <elf.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "builder/boot/cpio.h"
#include "builder/boot/modules.h"
#include "builder/manifest/manifest.h"
#include "builder/passes/merge.h"
#include "builder/sources/decompress.h"

namespace cfs::builder {
namespace {

constexpr size_t kMaxModuleBytes = 64 << 20;
constexpr size_t kMaxModuleIndexBytes = 16 << 20;
constexpr size_t kMaxFirmwareBytes = 64 << 20;
constexpr size_t kMaxListBytes = 1 << 20;  // what cfs-mount-root reads at most
constexpr const char* kModulesFolder = "usr/lib/cfs/modules/";

/// Loaded to mount the root, by cfs-mount-root and in this order.
const std::vector<std::string> kMounting = {"overlay", "erofs"};
/// Loaded when they are needed: the disk's file system, loop devices for kernels that cannot mount
/// EROFS from a file, and the variables in which the firmware says which disk it booted from.
const std::vector<std::string> kMaybeMounting = {"ext4", "loop", "efivarfs"};

Result<std::string> read_tree_file(Rootfs& rootfs, const std::string& path, size_t limit_bytes) {
  const tree::Node* node = rootfs.tree.find(path);
  if (node == nullptr) {
    return make_error(ErrorCode::kInvalidInput, "the image has no '" + path + "'");
  }
  return rootfs.contents.read(*node, limit_bytes);
}

Result<std::string> read_index(Rootfs& rootfs, const std::string& path, bool may_be_missing) {
  if (may_be_missing && rootfs.tree.find(path) == nullptr) return std::string();
  return read_tree_file(rootfs, path, kMaxModuleIndexBytes);
}

Result<ModuleWishes> module_wishes(const ModuleIndexes& indexes, const KernelImage& kernel,
                                   const InitramfsWishes& wishes) {
  ModuleWishes result{.always = wishes.modules, .mounting = kMounting, .on_demand = kMaybeMounting};
  for (auto [option, name] :
       {std::pair{"CONFIG_EXT4_FS", "ext4"}, {"CONFIG_BLK_DEV_LOOP", "loop"}}) {
    if (kernel.config.is_module(option) && !has_module(indexes, name)) {
      return make_error(ErrorCode::kInvalidInput,
                        fmt::format("the image lacks the kernel's module '{}'", name));
    }
  }
  std::ranges::copy(sha256_modules(indexes), std::back_inserter(result.on_demand));
  auto add_group = [&](std::string_view name) {
    const DriverGroup& group = driver_group(name);
    bool found = false;
    for (const std::string& module : group.modules) {
      if (!has_module(indexes, module)) continue;
      found = true;
      // A disk is there as soon as its controller is.
      bool is_late = group.late && module != "sd_mod";
      (is_late ? result.late : result.on_demand).push_back(module);
    }
    return found;
  };
  if (!wishes.drivers) {
    bool found = false;
    for (std::string_view group : kDriverGroups) found = add_group(group) || found;
    if (found) return result;
    return make_error(
        ErrorCode::kInvalidInput,
        fmt::format("the kernel {} has no disk driver, built in or not", kernel.version));
  }
  for (const std::string& group : *wishes.drivers) {
    if (!add_group(group)) {
      return make_error(ErrorCode::kInvalidInput,
                        fmt::format("the kernel {} has no disk driver of the group '{}'",
                                    kernel.version, group))
          .with_hint("correct kernel.initramfs.drivers, or take another kernel package");
    }
  }
  return result;
}

/// The text by which cfs-mount-root finds modules: initramfs/README.md, "The module index".
/// `files`: the file name of each module.
std::string index_text(const ModulePlan& plan, const std::map<std::string, std::string>& files) {
  std::string text;
  if (!plan.always.empty()) {
    text += "always";
    for (const std::string& name : plan.always) text += " " + files.at(name);
    text += "\n";
  }
  for (const auto& [name, order] : plan.orders) {
    text += "module " + name;
    for (const std::string& other : order) text += " " + files.at(other);
    text += "\n";
  }
  if (!plan.late.empty()) text += fmt::format("late {}\n", fmt::join(plan.late, " "));
  for (const auto& [pattern, name] : plan.aliases) text += "alias " + pattern + " " + name + "\n";
  return text;
}

/// Adds the firmware that the module `name` names to `files`, or a warning.
Result<> add_firmware(Rootfs& rootfs, const std::string& name, std::string_view module,
                      std::map<std::string, std::string>& files,
                      std::vector<std::string>& warnings) {
  Merger merger(rootfs.tree);  // firmware is often a link to that of another device
  for (const std::string& firmware : firmware_of_module(module)) {
    bool found = false;
    for (const char* suffix : {"", ".xz", ".zst"}) {
      std::string path = "lib/firmware/" + firmware + suffix;
      const tree::Node* node = CFS_TRY(merger.find_file("/usr/" + path));
      if (node == nullptr) continue;
      files[path] = CFS_TRY(rootfs.contents.read(*node, kMaxFirmwareBytes));
      found = true;
      break;
    }
    if (!found) {
      warnings.push_back(fmt::format(
          "the driver {} may need the firmware {}, which the image does not have", name, firmware));
    }
  }
  return {};
}

}  // namespace

Result<> check_static_program(std::string_view program, const std::string& name) {
  auto refuse = [&](const std::string& why) {
    return make_error(ErrorCode::kInvalidInput, "'" + name + "' cannot be /init: " + why)
        .with_hint("--mount-root takes the static cfs-mount-root that comes with cfs-build");
  };
  Elf64_Ehdr elf;
  if (program.size() < sizeof(elf)) return refuse("it is not a program");
  std::memcpy(&elf, program.data(), sizeof(elf));
  if (std::memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0 || elf.e_ident[EI_CLASS] != ELFCLASS64 ||
      (elf.e_type != ET_EXEC && elf.e_type != ET_DYN) || elf.e_phentsize != sizeof(Elf64_Phdr)) {
    return refuse("it is not a program of 64 bits");
  }
  for (uint64_t i = 0; i < elf.e_phnum; ++i) {
    uint64_t offset = elf.e_phoff + i * sizeof(Elf64_Phdr);
    Elf64_Phdr header;
    if (offset > program.size() || program.size() - offset < sizeof(header)) {
      return refuse("it is cut short");
    }
    std::memcpy(&header, program.data() + offset, sizeof(header));
    if (header.p_type != PT_INTERP) continue;
    std::string_view loader;
    if (header.p_offset < program.size()) {
      loader = program.substr(header.p_offset, header.p_filesz);
      loader = loader.substr(0, loader.find('\0'));
    }
    return refuse(
        fmt::format("it is dynamic and needs {}, which the initramfs does not have", loader));
  }
  return {};
}

Result<Initramfs> make_initramfs(Rootfs& rootfs, const KernelImage& kernel,
                                 const InitramfsWishes& wishes, std::string_view mount_root) {
  const std::string folder = kModulesDirectory + kernel.version + "/";
  std::string dependencies = CFS_TRY(read_index(rootfs, folder + "modules.dep", false));
  std::string builtin = CFS_TRY(read_index(rootfs, folder + "modules.builtin", false));
  std::string soft = CFS_TRY(read_index(rootfs, folder + "modules.softdep", true));
  std::string aliases = CFS_TRY(read_index(rootfs, folder + "modules.alias", true));
  const ModuleIndexes indexes{.dependencies = dependencies,
                              .builtin = builtin,
                              .soft_dependencies = soft,
                              .aliases = aliases};
  ModulePlan plan = CFS_TRY(plan_modules(indexes, CFS_TRY(module_wishes(indexes, kernel, wishes))));
  // These are asked for at every boot of a machine that has the processor.
  for (const std::string& name : sha256_modules(indexes)) {
    auto order = plan.orders.find(name);
    if (order == plan.orders.end()) continue;  // an alias of something that modules.dep lacks
    for (const std::string& needed : order->second) plan.modules[needed].every_boot = true;
  }

  Initramfs result;
  std::map<std::string, std::string> files;  // by path, so that the order is of names
  std::map<std::string, std::string> file_names;
  for (const auto& [name, module] : plan.modules) {
    std::string stored = CFS_TRY(read_tree_file(rootfs, folder + module.path, kMaxModuleBytes));
    std::string plain =
        CFS_TRY(decompress(stored, "'" + folder + module.path + "'", kMaxModuleBytes));
    CFS_TRY(add_firmware(rootfs, name, plain, files, result.warnings));
    std::string suffix = module.path.substr(module.path.rfind(".ko") + 3);
    if (module.every_boot || !kernel.config.unpacks_modules(suffix)) {
      stored = std::move(plain);
      suffix.clear();
    }
    file_names[name] = name + ".ko" + suffix;
    files[kModulesFolder + file_names[name]] = std::move(stored);
  }
  std::string index = index_text(plan, file_names);
  if (index.size() > kMaxListBytes) {
    return make_error(ErrorCode::kInvalidInput,
                      fmt::format("the index of the initramfs's {} modules has {} bytes; "
                                  "cfs-mount-root reads {}",
                                  plan.modules.size(), index.size(), kMaxListBytes))
        .with_hint("name fewer in kernel.initramfs.modules");
  }
  files[std::string(kModulesFolder) + "index"] = std::move(index);

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
  result.archive = cpio.finish();
  return result;
}

}  // namespace cfs::builder
