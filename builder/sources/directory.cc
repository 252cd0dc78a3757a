// SPDX-License-Identifier: Apache-2.0
#include "builder/sources/directory.h"

#include <fcntl.h>
#include <unistd.h>

#include "builder/passes/merge.h"
#include "builder/sources/host_path.h"
#include "builder/sources/source.h"
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
      CFS_TRY(tree_.set_xattr(*added, xattr->key, xattr->value));
    }
    return {};
  }

 private:
  /// The path in the image, as of normal_path().
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

/// root:root, UID:GID, or keep.
Result<std::optional<Owner>> read_owner_or_keep(const yaml::Value& value) {
  if (CFS_TRY(value.string()) == "keep") return std::optional<Owner>();
  return std::optional<Owner>(CFS_TRY(read_owner(value)));
}

class Directory : public Source {
 public:
  Directory(const yaml::Map& map, const std::string& folder) {
    if (map.require("path", path_.path, HostPathReader{folder})) {
      path_.place = map.find("path")->place();
    }
    settings_ = {.path = path_.path, .into = "/", .owner = Owner{}};
    map.read("into", settings_.into, ImagePathReader{ImagePathReader::Root::kAllowed});
    map.read("owner", settings_.owner, read_owner_or_keep);
  }

  Result<> check(const SourceContext& context) const override {
    struct stat status = CFS_TRY(path_.status(AT_SYMLINK_NOFOLLOW));
    if (S_ISLNK(status.st_mode)) {
      return path_.error(ErrorCode::kInvalidInput, "is a symlink, not a directory")
          .with_hint("name the directory that it leads to");
    }
    if (!S_ISDIR(status.st_mode)) {
      return path_.error(ErrorCode::kInvalidInput, "is not a directory")
          .with_hint("use 'tar' for a tar archive");
    }
    CFS_TRY(path_.check_access(R_OK | X_OK));
    return path_.check_build_is_outside(status, context);
  }

  Result<> import(const SourceContext&, Rootfs& rootfs) override {
    return import_directory(settings_, rootfs);
  }

 private:
  HostPath path_;
  DirectorySource settings_;
};

}  // namespace

Result<> import_directory(const DirectorySource& source, Rootfs& rootfs) {
  Progress progress("reading " + source.path, 0);
  scan::ScanOptions options;
  options.progress = &progress;
  options.keep_xattr = is_kept_xattr;
  tree::Tree found = CFS_TRY(
      scan::scan_directory(AT_FDCWD, source.path, options, CFS_TRY(rootfs.contents.batch())));
  Graft graft(source, CFS_TRY(normal_path(source.into)), rootfs.tree);
  return found.for_each([&](const tree::Node& node) { return graft.add(node); });
}

SourceKind directory_kind() {
  return {.key = "dir",
          .keys = {"path", "into", "owner"},
          .read = [](const yaml::Map& map, const std::string& folder) -> std::shared_ptr<Source> {
            return std::make_shared<Directory>(map, folder);
          }};
}

}  // namespace cfs::builder
