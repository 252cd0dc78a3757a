// SPDX-License-Identifier: Apache-2.0
#include "builder/passes/var.h"

#include <fmt/format.h>

#include <algorithm>

#include "builder/passes/merge.h"

namespace cfs::builder {
namespace {

constexpr const char* kDpkg = "/var/lib/dpkg";
constexpr const char* kDpkgInUsr = "usr/lib/sysimage/dpkg";
constexpr const char* kDpkgLink = "../../usr/lib/sysimage/dpkg";

/// "a/b/c" → "a/b" and "c"
std::pair<std::string, std::string> split(std::string_view path) {
  size_t slash = path.rfind('/');
  return {std::string(path.substr(0, slash)), std::string(path.substr(slash + 1))};
}

class Separation {
 public:
  Separation(const VarSettings& settings, int64_t source_date_epoch, Rootfs& rootfs)
      : settings_(settings), mtime_{source_date_epoch, 0}, rootfs_(rootfs), merger_(rootfs.tree) {}

  Result<std::vector<sysroot::VarRule>> run() {
    tree::Node* var = rootfs_.tree.find("/var");
    if (var == nullptr || !var->is_directory()) return std::vector<sysroot::VarRule>();
    for (const PersistentDirectory& directory : settings_.persistent) CFS_TRY(persist(directory));
    std::vector<sysroot::VarRule> rules = CFS_TRY(move_package_database());
    for (const VarPath& wanted : settings_.paths) {
      if (rootfs_.tree.find(wanted.rule.path) == nullptr) {
        return make_error(ErrorCode::kInvalidInput,
                          fmt::format("{}the image has no '{}'", wanted.place, wanted.rule.path))
            .with_hint("a policy is for what the image ships");
      }
      std::erase_if(rules, [&](const auto& rule) { return rule.path == wanted.rule.path; });
      rules.push_back(wanted.rule);
    }
    std::vector<sysroot::VarRule> shipped = CFS_TRY(policies_below(*var, rules));
    CFS_TRY(move_to_factory(*var));
    CFS_TRY(write_rules(std::move(rules)));
    return shipped;
  }

 private:
  tree::Attributes attributes(uint32_t mode) const { return {.mode = mode, .mtime = mtime_}; }

  Result<tree::Node*> add_symlink(std::string_view path, std::string_view target) {
    tree::Node* link = CFS_TRY(merger_.put(path, attributes(S_IFLNK | 0777)));
    CFS_TRY(rootfs_.tree.set_symlink_target(*link, target));
    return link;
  }

  Result<> persist(const PersistentDirectory& wanted) {
    const PersistentPlace& place = *wanted.place;
    tree::Tree& tree = rootfs_.tree;
    tree::Node* directory = tree.find(place.path);
    auto refuse = [&](const std::string& what) {
      return make_error(ErrorCode::kInvalidInput, wanted.manifest_place + what);
    };
    if (directory == nullptr) {
      directory = CFS_TRY(merger_.put(place.path.substr(1), attributes(S_IFDIR | place.mode)));
    }
    if (!directory->is_directory()) {
      return refuse(fmt::format("'{}' is not a directory of the image", place.path));
    }
    if (tree.find(place.in_var) != nullptr) {
      return refuse(fmt::format("'{}' would become '{}', which the image has already", place.path,
                                place.in_var));
    }
    CFS_TRY(tree.move(*directory, *tree.find("/var"), split(place.in_var).second));
    CFS_TRY(add_symlink(place.path.substr(1), place.link));
    return {};
  }

  Result<std::vector<sysroot::VarRule>> move_package_database() {
    std::vector<sysroot::VarRule> rules;
    tree::Node* database = rootfs_.tree.find(kDpkg);
    if (database == nullptr || !database->is_directory()) return rules;
    if (CFS_TRY(merger_.find(kDpkgInUsr)) != nullptr) {
      return make_error(ErrorCode::kInvalidInput,
                        fmt::format("the image has two package databases, '{}' and '/{}'", kDpkg,
                                    kDpkgInUsr))
          .with_hint("exclude one of them");
    }
    auto [parent_path, name] = split(kDpkgInUsr);
    tree::Node* parent = CFS_TRY(merger_.find_directory(parent_path));
    if (parent == nullptr) {
      parent = CFS_TRY(merger_.put(parent_path, attributes(S_IFDIR | 0755)));
    }
    CFS_TRY(rootfs_.tree.move(*database, *parent, name));
    CFS_TRY(add_symlink(std::string_view(kDpkg).substr(1), kDpkgLink));
    // Devices that have one of their own have that of the release that they were installed with.
    rules.push_back({.path = kDpkg, .policy = sysroot::VarPolicy::kReplaced});
    return rules;
  }

  static Result<std::vector<sysroot::VarRule>> policies_below(
      const tree::Node& var, const std::vector<sysroot::VarRule>& rules) {
    std::vector<sysroot::VarRule> shipped;
    std::vector<const tree::Node*> todo(var.children().begin(), var.children().end());
    while (!todo.empty()) {
      const tree::Node* node = todo.back();
      todo.pop_back();
      const std::string path = node->path();
      if (!sysroot::is_var_path(path)) {
        return make_error(ErrorCode::kInvalidInput,
                          fmt::format("'{}' cannot come to devices: its name has a line break, or "
                                      "is too long",
                                      path))
            .with_hint("exclude it");
      }
      if (!node->is_directory()) {
        shipped.push_back({.path = path, .policy = sysroot::policy_of(rules, path)});
      }
      todo.insert(todo.end(), node->children().begin(), node->children().end());
    }
    std::sort(shipped.begin(), shipped.end(),
              [](const auto& a, const auto& b) { return a.path < b.path; });
    return shipped;
  }

  Result<> move_to_factory(tree::Node& var) {
    tree::Node* factory = CFS_TRY(merger_.find(sysroot::kFactoryVar));
    if (factory != nullptr && (!factory->is_directory() || !factory->children().empty())) {
      return make_error(ErrorCode::kInvalidInput,
                        fmt::format("'/{}' is what cfs-build makes of /var, and the image has "
                                    "something there already",
                                    sysroot::kFactoryVar))
          .with_hint("exclude it, and ship in /var what is for /var");
    }
    factory = CFS_TRY(merger_.put(sysroot::kFactoryVar, var.attributes));
    for (const tree::Xattr* xattr : var.xattrs()) {
      CFS_TRY(rootfs_.tree.set_xattr(*factory, xattr->key, xattr->value));
    }
    std::vector<tree::Node*> children(var.children().begin(), var.children().end());
    for (tree::Node* child : children) {
      CFS_TRY(rootfs_.tree.move(*child, *factory, child->name()));
    }
    return {};
  }

  Result<> write_rules(std::vector<sysroot::VarRule> rules) {
    std::string text = CFS_TRY(sysroot::serialise_var_rules(std::move(rules)));
    tree::Node* file = CFS_TRY(merger_.put(sysroot::kVarPolicyFile, attributes(S_IFREG | 0644)));
    return rootfs_.contents.put_text(rootfs_.tree, *file, text);
  }

  const VarSettings& settings_;
  tree::Timestamp mtime_;
  Rootfs& rootfs_;
  Merger merger_;
};

}  // namespace

Result<std::vector<sysroot::VarRule>> separate_var(const VarSettings& settings,
                                                   int64_t source_date_epoch, Rootfs& rootfs) {
  return Separation(settings, source_date_epoch, rootfs).run();
}

}  // namespace cfs::builder
