// SPDX-License-Identifier: Apache-2.0
#include "builder/passes/extensions.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "builder/manifest/manifest.h"
#include "builder/passes/merge.h"

namespace cfs::builder {
namespace {

constexpr size_t kMaxUnitBytes = 1 << 20;

// In the order of their precedence. systemd.unit(5).
constexpr std::array<std::string_view, 5> kUnitDirectories = {
    "etc/systemd/system.control", "etc/systemd/system", "usr/local/lib/systemd/system",
    "usr/lib/systemd/system", "lib/systemd/system"};
// Directories of links whose name ends so make one unit start another.
constexpr std::array<std::string_view, 3> kDependencyDirectories = {".wants", ".requires",
                                                                    ".upholds"};
// Options that make one unit start another.
constexpr std::array<std::string_view, 8> kDependencyOptions = {
    "Wants", "Requires", "BindsTo", "Upholds", "OnSuccess", "OnFailure", "Unit", "Sockets"};
constexpr std::array<std::string_view, 2> kPrograms = {"systemd-sysext", "systemd-confext"};

std::string_view base_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

bool ends_with_any(std::string_view name, const auto& ends) {
  return std::any_of(ends.begin(), ends.end(),
                     [&](std::string_view end) { return name.ends_with(end); });
}

bool is_of_systemd_itself(std::string_view name) {
  return std::any_of(kPrograms.begin(), kPrograms.end(),
                     [&](std::string_view program) { return name.starts_with(program); });
}

/// The lines of a unit file: comments left out, those that end in a backslash joined.
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
    std::vector<tree::Node*> directories;
    for (std::string_view path : kUnitDirectories) {
      tree::Node* directory = CFS_TRY(merger_.find_directory(path));
      bool is_new =
          std::find(directories.begin(), directories.end(), directory) == directories.end();
      if (directory != nullptr && is_new) directories.push_back(directory);
    }
    for (std::string_view program : kPrograms)
      add_unit(std::string(program) + ".service", directories);
    add_aliases(directories);
    for (tree::Node* directory : directories) CFS_TRY(look_at(*directory));
    return {};
  }

 private:
  /// Adds a unit unless it is masked: its file of the highest precedence empty or /dev/null.
  void add_unit(const std::string& name, const std::vector<tree::Node*>& directories) {
    for (tree::Node* directory : directories) {
      tree::Node* node = rootfs_.tree.child(*directory, name);
      if (node == nullptr) continue;
      const tree::Node& inode = node->inode();
      bool is_masked = inode.is_symlink() ? inode.symlink_target() == "/dev/null"
                                          : inode.is_regular() && inode.size_bytes == 0;
      if (!is_masked) units_.insert(name);
      return;
    }
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

  [[nodiscard]] bool is_unit(std::string_view name) const {
    return units_.count(std::string(name)) > 0;
  }

  Result<> look_at(tree::Node& directory) {
    for (tree::Node* node : directory.children()) {
      if (node->inode().is_regular()) {
        if (!is_of_systemd_itself(node->name())) CFS_TRY(check_text(*node));
      } else if (node->is_directory() && node->name().ends_with(".d")) {
        for (tree::Node* drop_in : node->children()) {
          if (drop_in->inode().is_regular()) CFS_TRY(check_text(*drop_in));
        }
      } else if (node->is_directory() && ends_with_any(node->name(), kDependencyDirectories)) {
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
