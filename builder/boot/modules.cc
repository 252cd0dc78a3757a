// SPDX-License-Identifier: Apache-2.0
#include "builder/boot/modules.h"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <set>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "builder/manifest/manifest.h"
#include "lib/base/check.h"

namespace cfs::builder {
namespace {

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

/// Which modules to load, in which order: a walk through the dependencies, deepest first. The walk
/// keeps a stack of its own, because a chain of dependencies may be longer than the program's
/// stack.
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
      // The stack turns the order around. First come the dependencies, of which modules.dep names
      // the deepest last. Soft dependencies "pre:", the module itself and "post:" follow.
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

  /// The order so far; the next add() begins a new one.
  std::vector<std::string> take() {
    seen_.clear();
    return std::exchange(order_, {});
  }

 private:
  struct SoftDependencies {
    std::vector<std::string_view> before;
    std::vector<std::string_view> after;
  };

  /// The modules that a soft dependency means: the one of that name, or those with that alias.
  /// Empty when it is built in or missing.
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

std::set<std::string> builtin_modules(const ModuleIndexes& indexes) {
  std::set<std::string> names;
  for (std::string_view path : split(indexes.builtin, '\n')) names.insert(module_name(path));
  return names;
}

Result<> add_wanted(LoadOrder& order, const std::set<std::string>& builtin,
                    const std::string& wanted) {
  std::string name = module_name(wanted);
  if (builtin.contains(name)) return {};
  std::string_view path = order.path_of(name);
  if (path.empty()) {
    return make_error(ErrorCode::kInvalidInput,
                      "the kernel has no module '" + wanted + "', built in or not");
  }
  return order.add(path);
}

/// Returns true if this alias says which device, processor or file system asks for the module.
/// Others are for the kernel's own requests ("crypto-sha256", "block-major-8-*"), which nobody
/// answers here.
bool is_asked_for(std::string_view pattern) {
  return pattern.find(':') != std::string_view::npos || pattern.starts_with("fs-");
}

/// In the order of kDriverGroups.
const std::array<DriverGroup, kDriverGroups.size()>& driver_table() {
  static const std::array<DriverGroup, kDriverGroups.size()> table = {{
      {"virtio", {"virtio_pci", "virtio_mmio", "virtio_blk", "virtio_scsi", "sd_mod"}},
      {"nvme", {"nvme", "vmd"}},
      {"ahci", {"ahci", "ata_piix", "ata_generic", "sd_mod"}, true},
      {"scsi",
       {"megaraid_sas", "mpt3sas", "mpi3mr", "mptspi", "mptsas", "aacraid", "hpsa", "smartpqi",
        "vmw_pvscsi", "BusLogic", "sd_mod"},
       true},
      {"mmc", {"sdhci_pci", "sdhci_acpi", "rtsx_pci", "rtsx_pci_sdmmc", "mmc_block"}},
      {"usb",
       {"xhci_pci", "ehci_pci", "ohci_pci", "uhci_hcd", "usb_storage", "uas", "sd_mod"},
       true},
      {"xen", {"xen_blkfront", "xen_scsifront"}},
      {"hyperv", {"hv_vmbus", "hv_storvsc", "pci_hyperv", "sd_mod"}},
  }};
  return table;
}

template <typename Header>
std::optional<Header> load_header(std::string_view file, uint64_t offset) {
  if (offset > file.size() || file.size() - offset < sizeof(Header)) return std::nullopt;
  Header header;
  std::memcpy(&header, file.data() + offset, sizeof(header));
  return header;
}

/// The content of an ELF64 file's section; empty: none.
std::string_view elf_section(std::string_view file, std::string_view name) {
  auto elf = load_header<Elf64_Ehdr>(file, 0);
  if (!elf || std::memcmp(elf->e_ident, ELFMAG, SELFMAG) != 0 ||
      elf->e_ident[EI_CLASS] != ELFCLASS64 || elf->e_shentsize != sizeof(Elf64_Shdr)) {
    return {};
  }
  auto section = [&](uint64_t number) {
    return load_header<Elf64_Shdr>(file, elf->e_shoff + number * sizeof(Elf64_Shdr));
  };
  auto content = [&](const Elf64_Shdr& header) -> std::string_view {
    if (header.sh_offset > file.size()) return {};
    return file.substr(header.sh_offset, header.sh_size);
  };
  auto names_header = section(elf->e_shstrndx);
  if (!names_header) return {};
  std::string_view names = content(*names_header);
  for (uint64_t number = 0; number < elf->e_shnum; ++number) {
    auto header = section(number);
    if (!header) return {};
    std::string_view rest = names.substr(std::min<size_t>(header->sh_name, names.size()));
    if (rest.substr(0, rest.find('\0')) == name) return content(*header);
  }
  return {};
}

}  // namespace

Result<ModulePlan> plan_modules(const ModuleIndexes& indexes, const ModuleWishes& wishes) {
  ModulePlan plan;
  LoadOrder order(indexes);
  const std::set<std::string> builtin = builtin_modules(indexes);
  auto take_order = [&](bool every_boot) {
    std::vector<std::string> names;
    for (std::string& path : order.take()) {
      PlannedModule& module = plan.modules[names.emplace_back(module_name(path))];
      module.path = std::move(path);
      module.every_boot = module.every_boot || every_boot;
    }
    return names;
  };
  for (const std::string& wanted : wishes.always) {
    Result<> added = add_wanted(order, builtin, wanted);
    if (!added) {
      return Error(std::move(added).error()).with_hint("correct kernel.initramfs.modules");
    }
  }
  plan.always = take_order(true);
  auto plan_one = [&](const std::string& wanted, bool every_boot) -> Result<> {
    CFS_TRY(add_wanted(order, builtin, wanted));
    std::vector<std::string> names = take_order(every_boot);
    if (!names.empty()) plan.orders[module_name(wanted)] = std::move(names);
    return {};
  };
  for (const std::string& wanted : wishes.mounting) CFS_TRY(plan_one(wanted, true));
  for (const std::string& wanted : wishes.on_demand) {
    if (!plan.orders.contains(module_name(wanted)) && has_module(indexes, wanted)) {
      CFS_TRY(plan_one(wanted, false));
    }
  }
  for (const std::string& wanted : wishes.late) {
    if (plan.orders.contains(module_name(wanted)) || !has_module(indexes, wanted)) continue;
    CFS_TRY(plan_one(wanted, false));
    if (plan.orders.contains(module_name(wanted))) plan.late.push_back(module_name(wanted));
  }
  for (std::string_view line : split(indexes.aliases, '\n')) {
    std::vector<std::string_view> words = split(line, ' ');
    if (words.size() != 3 || words[0] != "alias" || !is_asked_for(words[1])) continue;
    std::string name = with_underscores(words[2]);
    if (plan.orders.contains(name)) plan.aliases.emplace_back(words[1], name);
  }
  return plan;
}

const DriverGroup& driver_group(std::string_view name) {
  auto found = std::ranges::find(driver_table(), name, &DriverGroup::name);
  CFS_CHECK(found != driver_table().end());
  return *found;
}

bool has_module(const ModuleIndexes& indexes, std::string_view name) {
  std::string wanted = module_name(name);
  auto lists = [&](std::string_view text) {
    return std::ranges::any_of(split(text, '\n'), [&](std::string_view line) {
      return module_name(line.substr(0, line.find(':'))) == wanted;
    });
  };
  return lists(indexes.builtin) || lists(indexes.dependencies);
}

std::vector<std::string> sha256_modules(const ModuleIndexes& indexes) {
  std::set<std::string> computing;
  std::set<std::string> by_processor;
  for (std::string_view line : split(indexes.aliases, '\n')) {
    std::vector<std::string_view> words = split(line, ' ');
    if (words.size() != 3 || words[0] != "alias") continue;
    if (words[1] == "crypto-sha256") computing.insert(with_underscores(words[2]));
    if (words[1].starts_with("cpu:")) by_processor.insert(with_underscores(words[2]));
  }
  std::vector<std::string> both;
  std::ranges::set_intersection(computing, by_processor, std::back_inserter(both));
  return both;
}

std::vector<std::string> firmware_of_module(std::string_view module) {
  constexpr std::string_view kKey = "firmware=";
  std::vector<std::string> names;
  for (std::string_view entry : split(elf_section(module, ".modinfo"), '\0')) {
    if (entry.starts_with(kKey)) names.emplace_back(entry.substr(kKey.size()));
  }
  return names;
}

}  // namespace cfs::builder
