// SPDX-License-Identifier: Apache-2.0
#include "builder/sources/directory.h"

#include <fcntl.h>

#include "builder/passes/merge.h"
#include "lib/base/progress.h"
#include "lib/scan/scan.h"

namespace cfs::builder {
namespace {

/// Puts the entries of one tree into another.
class Graft {
 public:
  Graft(const DirectorySource& source, std::string into, tree::Tree& tree)
      : source_(source),
        into_(std::move(into)),
        tree_(tree),
        merger_(tree),
        is_first_(tree.root().children().empty()) {}

  Result<> add(const tree::Node& node) {
    std::string path = place_of(node);
    if (node.is_link()) {
      CFS_TRY(merger_.put_link(path, place_of(node.inode())));
      return {};
    }
    bool is_root_of_image = path.empty() && is_first_;
    if (node.is_directory() && !is_root_of_image &&
        CFS_TRY(merger_.find_directory(path)) != nullptr) {
      return {};
    }
    tree::Attributes attributes = node.attributes;
    if (source_.owner) {
      attributes.uid = source_.owner->uid;
      attributes.gid = source_.owner->gid;
    }
    tree::Node* added = CFS_TRY(merger_.put(path, attributes));
    if (node.is_external()) {
      tree_.set_object(*added, *node.digest(), node.size_bytes);
    } else if (node.is_regular()) {
      CFS_TRY(tree_.set_content(*added, node.content()));
    } else if (node.is_symlink()) {
      CFS_TRY(tree_.set_symlink_target(*added, node.symlink_target()));
    }
    added->rdev = node.rdev;
    for (const tree::Xattr* xattr : node.xattrs()) {
      // Labels of the build host's policy mean nothing in the image.
      if (xattr->key == "security.selinux") continue;
      CFS_TRY(tree_.set_xattr(*added, xattr->key, xattr->value));
    }
    return {};
  }

 private:
  /// Normal (merge.h) path in the image.
  [[nodiscard]] std::string place_of(const tree::Node& node) const {
    std::string path = node.path().substr(1);
    if (into_.empty()) return path;
    return path.empty() ? into_ : into_ + "/" + path;
  }

  const DirectorySource& source_;
  std::string into_;
  tree::Tree& tree_;
  Merger merger_;
  bool is_first_;  ///< nothing is in the image yet: its root is that of this directory
};

}  // namespace

Result<> import_directory(const DirectorySource& source, tree::Tree& tree, Contents& contents) {
  Progress progress("reading " + source.path, 0);
  scan::ScanOptions options;
  options.progress = &progress;
  tree::Tree found =
      CFS_TRY(scan::scan_directory(AT_FDCWD, source.path, options, CFS_TRY(contents.batch())));
  Graft graft(source, CFS_TRY(normal_path(source.into)), tree);
  return found.for_each([&](const tree::Node& node) { return graft.add(node); });
}

}  // namespace cfs::builder
