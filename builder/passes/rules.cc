// SPDX-License-Identifier: Apache-2.0
#include "builder/passes/rules.h"

#include <fmt/format.h>

#include <map>
#include <vector>

#include "builder/passes/glob.h"
#include "builder/passes/merge.h"

namespace cfs::builder {
namespace {

Result<> exclude(const FileRule& rule, tree::Tree& tree) {
  // A directory that matches takes its entries along, so only the topmost matches are collected.
  std::vector<std::pair<tree::Node*, std::string>> todo = {{&tree.root(), ""}};
  std::vector<tree::Node*> found;
  while (!todo.empty()) {
    auto [directory, path] = std::move(todo.back());
    todo.pop_back();
    for (tree::Node* node : directory->children()) {
      std::string child_path = path + "/" + std::string(node->name());
      if (glob_match(rule.path, child_path)) {
        found.push_back(node);
      } else if (node->is_directory()) {
        todo.emplace_back(node, std::move(child_path));
      }
    }
  }
  if (found.empty() && !rule.optional) {
    return make_error(ErrorCode::kInvalidInput,
                      fmt::format("{}'{}' matches nothing in the image", rule.place, rule.path))
        .with_hint("remove the rule or add 'optional: true'");
  }
  for (tree::Node* node : found) tree.remove(*node);
  return {};
}

Result<> make_entry(const FileRule& rule, int64_t source_date_epoch, Rootfs& rootfs) {
  uint32_t type = rule.kind == FileRule::Kind::kContent   ? S_IFREG
                  : rule.kind == FileRule::Kind::kSymlink ? S_IFLNK
                                                          : S_IFDIR;
  Merger merger(rootfs.tree);
  tree::Node* node =
      CFS_TRY(merger.put(CFS_TRY(normal_path(rule.path)), {.mode = type | rule.mode,
                                                           .uid = rule.owner.uid,
                                                           .gid = rule.owner.gid,
                                                           .mtime = {source_date_epoch, 0}}));
  if (rule.kind == FileRule::Kind::kContent)
    return rootfs.contents.put_text(rootfs.tree, *node, rule.text);
  if (rule.kind == FileRule::Kind::kSymlink)
    return rootfs.tree.set_symlink_target(*node, rule.text);
  return {};
}

}  // namespace

Result<> check_rules(std::span<const FileRule> rules) {
  std::map<std::string, const FileRule*> made;
  for (const FileRule& rule : rules) {
    if (rule.kind == FileRule::Kind::kExclude) {
      std::erase_if(made, [&](const auto& entry) { return glob_match(rule.path, entry.first); });
      continue;
    }
    for (size_t slash = rule.path.find('/', 1); slash != std::string::npos;
         slash = rule.path.find('/', slash + 1)) {
      auto above = made.find(rule.path.substr(0, slash));
      if (above == made.end() || above->second->kind != FileRule::Kind::kContent) continue;
      return make_error(
          ErrorCode::kInvalidInput,
          fmt::format("{}'{}' cannot be below '{}', which files[{}] makes a file", rule.place,
                      rule.path, above->first, above->second - rules.data()));
    }
    made[rule.path] = &rule;
  }
  return {};
}

Result<> apply_rules(std::span<const FileRule> rules, int64_t source_date_epoch, Rootfs& rootfs) {
  for (const FileRule& rule : rules) {
    if (rule.kind == FileRule::Kind::kExclude) {
      CFS_TRY(exclude(rule, rootfs.tree));
    } else {
      CFS_TRY_WITH("while applying the rule at " + rule.place.substr(0, rule.place.rfind(": ")),
                   make_entry(rule, source_date_epoch, rootfs));
    }
  }
  return {};
}

}  // namespace cfs::builder
