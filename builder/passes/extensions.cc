// SPDX-License-Identifier: Apache-2.0
#include "builder/passes/extensions.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "builder/manifest/manifest.h"
#include "builder/passes/merge.h"

namespace cfs::builder {
namespace {

constexpr size_t kMaxUnitBytes = 1 << 20;

// In the order of their precedence. systemd.unit(5).
constexpr std::array<std::string_view, 6> kUnitDirectories = {
    "etc/systemd/system.control",   "etc/systemd/system",     "etc/systemd/system.attached",
    "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"};
// In the order of their precedence. udev(7).
constexpr std::array<std::string_view, 4> kRulesDirectories = {
    "etc/udev/rules.d", "usr/local/lib/udev/rules.d", "usr/lib/udev/rules.d", "lib/udev/rules.d"};
// Directories of links whose name ends so make one unit start another.
constexpr std::array<std::string_view, 3> kDependencyDirectories = {".wants", ".requires",
                                                                    ".upholds"};
// Options that make one unit start another.
constexpr std::array<std::string_view, 9> kDependencyOptions = {"Wants",   "Requires",  "BindsTo",
                                                                "Upholds", "OnSuccess", "OnFailure",
                                                                "Unit",    "Service",   "Sockets"};
// Units that start the service of their name. systemd.timer(5), systemd.path(5), systemd.socket(5).
constexpr std::array<std::string_view, 3> kStarters = {".timer", ".path", ".socket"};
// Keys of a udev rule that run a program. udev(7).
constexpr std::array<std::string_view, 3> kRunningKeys = {"RUN", "PROGRAM", "IMPORT{program}"};
constexpr std::array<std::string_view, 2> kPrograms = {"systemd-sysext", "systemd-confext"};

std::string_view base_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

bool ends_with_any(std::string_view name, const auto& ends) {
  return std::any_of(ends.begin(), ends.end(),
                     [&](std::string_view end) { return name.ends_with(end); });
}

/// Units that come with systemd and run the programs when somebody starts them; the last two only
/// do so in an initramfs.
bool is_of_systemd_itself(std::string_view name) {
  return std::any_of(kPrograms.begin(), kPrograms.end(), [&](std::string_view program) {
    if (!name.starts_with(program)) return false;
    std::string_view rest = name.substr(program.size());
    return rest == ".service" || rest == "@.service" || rest == "-initrd.service" ||
           rest == "-sysroot.service";
  });
}

/// The lines of a unit file or of udev rules: comments left out, those that end in a backslash
/// joined.
std::vector<std::string> logical_lines(std::string_view text) {
  std::vector<std::string> lines;
  bool goes_on = false;
  while (!text.empty()) {
    size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    if (line.starts_with('#') || line.starts_with(';')) continue;
    if (!goes_on) lines.emplace_back();
    goes_on = line.ends_with('\\');
    lines.back() += line.substr(0, line.size() - (goes_on ? 1 : 0));
    if (goes_on) lines.back() += ' ';
  }
  return lines;
}

class Search {
 public:
  explicit Search(Rootfs& rootfs) : rootfs_(rootfs), merger_(rootfs.tree) {}

  Result<> run() {
    std::vector<tree::Node*> directories = CFS_TRY(find_directories(kUnitDirectories));
    for (std::string_view program : kPrograms) {
      const std::string name = std::string(program) + ".service";
      if (find_unit(name, directories) != nullptr) units_.insert(name);
    }
    add_aliases(directories);
    CFS_TRY(add_starters(directories));
    for (tree::Node* directory : directories) CFS_TRY(look_at(*directory, directories));
    std::set<std::string> seen;
    for (tree::Node* directory : CFS_TRY(find_directories(kRulesDirectories))) {
      for (const tree::Node* file : directory->children()) {
        // One of that name in a directory before this replaces it.
        if (!seen.insert(std::string(file->name())).second) continue;
        if (!file->name().ends_with(".rules")) continue;
        const tree::Node* rules = CFS_TRY(merger_.find_file(file->path()));
        if (rules != nullptr) CFS_TRY(check_rules(*rules));
      }
    }
    return {};
  }

 private:
  Result<std::vector<tree::Node*>> find_directories(std::span<const std::string_view> paths) {
    std::vector<tree::Node*> directories;
    for (std::string_view path : paths) {
      tree::Node* directory = CFS_TRY(merger_.find_directory(path));
      bool is_new =
          std::find(directories.begin(), directories.end(), directory) == directories.end();
      if (directory != nullptr && is_new) directories.push_back(directory);
    }
    return directories;
  }

  /// A unit's file of the highest precedence. Null: there is none, or it masks the unit (it is
  /// empty or /dev/null).
  const tree::Node* find_unit(const std::string& name,
                              const std::vector<tree::Node*>& directories) {
    for (tree::Node* directory : directories) {
      const tree::Node* node = rootfs_.tree.child(*directory, name);
      if (node == nullptr) continue;
      const tree::Node& inode = node->inode();
      bool is_masked = inode.is_symlink() ? inode.symlink_target() == "/dev/null"
                                          : inode.is_regular() && inode.size_bytes == 0;
      return is_masked ? nullptr : node;
    }
    return nullptr;
  }

  void add_aliases(const std::vector<tree::Node*>& directories) {
    for (size_t before = 0; before != units_.size();) {
      before = units_.size();
      for (tree::Node* directory : directories) {
        for (const tree::Node* node : directory->children()) {
          const tree::Node& inode = node->inode();
          if (inode.is_symlink() && is_unit(base_name(inode.symlink_target()))) {
            units_.insert(std::string(node->name()));
          }
        }
      }
    }
  }

  /// Adds the timers, paths and sockets of the services' names: who enables one starts the service.
  Result<> add_starters(const std::vector<tree::Node*>& directories) {
    const std::set<std::string> services = units_;
    for (const std::string& service : services) {
      for (std::string_view starter : kStarters) {
        const std::string name = service.substr(0, service.rfind('.')) + std::string(starter);
        const tree::Node* file = find_unit(name, directories);
        if (file != nullptr && !CFS_TRY(starts_instances(file->inode()))) units_.insert(name);
      }
    }
    return {};
  }

  /// Returns true for a socket of `Accept=yes`: it starts instances of the template of its name,
  /// and systemd's do what a client asks for.
  Result<bool> starts_instances(const tree::Node& file) {
    if (!file.is_regular()) return false;
    std::string text = CFS_TRY(rootfs_.contents.read(file, kMaxUnitBytes));
    for (const std::string& line : logical_lines(text)) {
      if (line == "Accept=yes" || line == "Accept=true") return true;
    }
    return false;
  }

  [[nodiscard]] bool is_unit(std::string_view name) const {
    return units_.count(std::string(name)) > 0;
  }

  /// Returns true for a unit that does what is looked for once somebody starts it.
  [[nodiscard]] bool is_known(std::string_view name) const {
    return is_unit(name) || is_of_systemd_itself(name);
  }

  Result<> look_at(tree::Node& directory, const std::vector<tree::Node*>& directories) {
    for (tree::Node* node : directory.children()) {
      if (!node->is_directory()) {
        // A link may lead to a file outside of these directories ("linked" units).
        const tree::Node* file = CFS_TRY(merger_.find_file(node->path()));
        bool is_masked = find_unit(std::string(node->name()), directories) == nullptr;
        if (file == nullptr || is_masked || is_known(node->name()) || is_known(file->name())) {
          continue;
        }
        CFS_TRY(check_text(*file));
      } else if (node->name().ends_with(".d")) {
        for (tree::Node* drop_in : node->children()) {
          const tree::Node* file = CFS_TRY(merger_.find_file(drop_in->path()));
          if (file != nullptr) CFS_TRY(check_text(*file));
        }
      } else if (ends_with_any(node->name(), kDependencyDirectories)) {
        for (const tree::Node* link : node->children()) {
          std::string_view target =
              link->inode().is_symlink() ? base_name(link->inode().symlink_target()) : "";
          if (is_unit(link->name()) || is_unit(target)) return refuse(*link);
        }
      }
    }
    return {};
  }

  Result<> check_text(const tree::Node& file) {
    std::string text = CFS_TRY(rootfs_.contents.read(file, kMaxUnitBytes));
    for (const std::string& line : logical_lines(text)) {
      size_t equals = std::min(line.find('='), line.size());
      std::string_view option = std::string_view(line).substr(0, equals);
      option = option.substr(0, option.find_last_not_of(" \t") + 1);
      auto value_has = [&](std::string_view word) {
        return line.find(word, equals) != std::string::npos;
      };
      bool starts_unit = std::find(kDependencyOptions.begin(), kDependencyOptions.end(), option) !=
                             kDependencyOptions.end() &&
                         std::any_of(units_.begin(), units_.end(), value_has);
      bool runs_program =
          option.starts_with("Exec") && std::any_of(kPrograms.begin(), kPrograms.end(), value_has);
      if (starts_unit || runs_program) return refuse(file);
    }
    return {};
  }

  Result<> check_rules(const tree::Node& file) {
    std::string text = CFS_TRY(rootfs_.contents.read(file, kMaxUnitBytes));
    for (const std::string& line : logical_lines(text)) {
      auto has = [&](std::string_view word) { return line.find(word) != std::string::npos; };
      bool starts_unit = has("{SYSTEMD_WANTS}") && std::any_of(units_.begin(), units_.end(), has);
      bool runs_program = std::any_of(kRunningKeys.begin(), kRunningKeys.end(), has) &&
                          std::any_of(kPrograms.begin(), kPrograms.end(), has);
      if (starts_unit || runs_program) return refuse(file);
    }
    return {};
  }

  static Error refuse(const tree::Node& node) {
    return make_error(
               ErrorCode::kInvalidInput,
               fmt::format("by '{}', files in /var go over /usr or /etc at boot, and nothing "
                           "vouches for those",
                           node.path()))
        .with_hint(fmt::format("exclude it, or write 'allow: [{}]' into the manifest",
                               risk_name(Risk::kExtensionsFromVar)));
  }

  Rootfs& rootfs_;
  Merger merger_;
  std::set<std::string> units_;  ///< that merge extensions
};

}  // namespace

Result<> refuse_extensions_from_var(Rootfs& rootfs) { return Search(rootfs).run(); }

}  // namespace cfs::builder
