// SPDX-License-Identifier: Apache-2.0
#include "builder/passes/normalize.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "lib/base/check.h"

namespace cfs::builder {
namespace {

constexpr size_t kMaxShadowBytes = 16 << 20;
constexpr int64_t kSecondsPerDay = 86400;

void remove_path(tree::Tree& tree, std::string_view path) {
  if (tree::Node* node = tree.find(path)) tree.remove(*node);
}

using Wanted = std::function<bool(const tree::Node&)>;

/// Removes the entries of the directory at `path` that are `wanted`.
void remove_entries(tree::Tree& tree, std::string_view path, const Wanted& wanted) {
  tree::Node* directory = tree.find(path);
  if (directory == nullptr || !directory->is_directory()) return;
  std::vector<tree::Node*> found;
  for (tree::Node* node : directory->children()) {
    if (wanted(*node)) found.push_back(node);
  }
  for (tree::Node* node : found) tree.remove(*node);
}

bool always(const tree::Node&) { return true; }

/// Removes every node below `top` that is `wanted`, with all below it.
void remove_below(tree::Tree& tree, tree::Node& top, const Wanted& wanted) {
  std::vector<tree::Node*> todo = {&top};
  std::vector<tree::Node*> found;
  while (!todo.empty()) {
    tree::Node* directory = todo.back();
    todo.pop_back();
    for (tree::Node* node : directory->children()) {
      if (wanted(*node)) {
        found.push_back(node);
      } else if (node->is_directory()) {
        todo.push_back(node);
      }
    }
  }
  for (tree::Node* node : found) tree.remove(*node);
}

/// The third field, days since 1970, becomes the day of the build's time stamp. Empty ("never
/// changed") and 0 ("must be changed") keep their meaning. Spec: shadow(5).
std::string with_last_change(std::string_view shadow, int64_t day) {
  std::string result;
  while (!shadow.empty()) {
    size_t end = std::min(shadow.find('\n'), shadow.size());
    std::string_view line = shadow.substr(0, end);
    size_t first = line.find(':');
    size_t begin = first == std::string_view::npos ? first : line.find(':', first + 1);
    size_t after = begin == std::string_view::npos ? begin : line.find(':', begin + 1);
    if (after == std::string_view::npos) {
      result += line;
    } else {
      std::string_view field = line.substr(begin + 1, after - begin - 1);
      result += line.substr(0, begin + 1);
      result += field.empty() || field == "0" ? std::string(field) : std::to_string(day);
      result += line.substr(after);
    }
    if (end < shadow.size()) result += '\n';
    shadow.remove_prefix(std::min(end + 1, shadow.size()));
  }
  return result;
}

Result<> run_pass(NormalizePass pass, Rootfs& rootfs, int64_t source_date_epoch) {
  tree::Tree& tree = rootfs.tree;
  switch (pass) {
    case NormalizePass::kMachineId:
      // Empty, not missing and not "uninitialized": systemd then boots as usual instead of running
      // its first-boot setup. Spec: machine-id(5), "First boot semantics".
      if (tree::Node* node = tree.find("/etc/machine-id");
          node != nullptr && node->inode().is_regular()) {
        CFS_TRY(tree.set_content(node->inode(), ""));
      }
      remove_path(tree, "/var/lib/dbus/machine-id");
      return {};
    case NormalizePass::kHostLeaks:
      return {};  // done where installers' output comes in
    case NormalizePass::kSshHostKeys:
      remove_entries(tree, "/etc/ssh",
                     [](const tree::Node& node) { return node.name().starts_with("ssh_host_"); });
      return {};
    case NormalizePass::kAptLists:
      remove_entries(tree, "/var/lib/apt/lists", always);
      remove_entries(tree, "/var/cache/apt", always);
      remove_entries(tree, "/var/log/apt", always);
      return {};
    case NormalizePass::kLogs:
      if (tree::Node* logs = tree.find("/var/log"); logs != nullptr && logs->is_directory()) {
        remove_below(tree, *logs, [](const tree::Node& node) {
          return node.inode().is_regular() && node.inode().size_bytes > 0;
        });
      }
      return {};
    case NormalizePass::kDpkgBackups: {
      auto is_old = [](const tree::Node& node) { return node.name().ends_with("-old"); };
      remove_entries(tree, "/var/lib/dpkg", is_old);
      remove_entries(tree, "/var/cache/debconf", is_old);
      remove_entries(tree, "/var/backups", always);
      for (const char* name : {"passwd", "group", "shadow", "gshadow", "subuid", "subgid"}) {
        remove_path(tree, fmt::format("/etc/{}-", name));
      }
      return {};
    }
    case NormalizePass::kLdconfigCache:
      remove_path(tree, "/var/cache/ldconfig/aux-cache");
      return {};
    case NormalizePass::kPythonCache:
      remove_below(tree, tree.root(), [](const tree::Node& node) {
        return node.is_directory() && node.name() == "__pycache__";
      });
      return {};
    case NormalizePass::kShadowLastChange:
      for (const char* path : {"/etc/shadow", "/etc/shadow-"}) {
        tree::Node* node = tree.find(path);
        if (node == nullptr || !node->inode().is_regular()) continue;
        std::string text = CFS_TRY(rootfs.contents.read(*node, kMaxShadowBytes));
        CFS_TRY(rootfs.contents.put_text(
            tree, node->inode(), with_last_change(text, source_date_epoch / kSecondsPerDay)));
      }
      return {};
    case NormalizePass::kRandomSeed:
      for (const char* path : {"/var/lib/systemd/random-seed", "/var/lib/urandom/random-seed",
                               "/var/lib/systemd/credential.secret"}) {
        remove_path(tree, path);
      }
      return {};
  }
  return make_error(ErrorCode::kInternal, "unknown normalisation");
}

}  // namespace

void remove_host_leaks(tree::Tree& tree) {
  for (const char* path : {"/etc/hostname", "/etc/.resolv.conf.systemd-resolved.bak",
                           "/etc/apt/sources.list", "/etc/apt/apt.conf.d/99mmdebstrap"}) {
    remove_path(tree, path);
  }
  remove_entries(tree, "/etc/apt/sources.list.d", always);
  // A symlink is the image's own choice (systemd-resolved), a file is the build host's content.
  if (tree::Node* node = tree.find("/etc/resolv.conf");
      node != nullptr && node->inode().is_regular()) {
    tree.remove(*node);
  }
}

Result<> normalize(Rootfs& rootfs, std::span<const NormalizePass> passes,
                   int64_t source_date_epoch) {
  for (const char* path : {"/dev", "/proc", "/run", "/sys", "/tmp", "/var/tmp"}) {
    remove_entries(rootfs.tree, path, always);
  }
  for (NormalizePass pass : passes) {
    CFS_TRY(run_pass(pass, rootfs, source_date_epoch));
  }
  return {};
}

void settle(tree::Tree& tree, int64_t source_date_epoch) {
  const tree::Timestamp latest{source_date_epoch, 0};
  Result<> done = tree.for_each([&](tree::Node& node) -> Result<> {
    tree::Timestamp& mtime = node.inode().attributes.mtime;
    if (mtime > latest) mtime = latest;
    return {};
  });
  CFS_CHECK(done.has_value());
  tree.order_links();
  tree.count_links();
}

}  // namespace cfs::builder
