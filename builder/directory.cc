// SPDX-License-Identifier: Apache-2.0
#include "builder/directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <map>
#include <utility>
#include <vector>

#include "builder/merge.h"
#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/base/progress.h"

namespace cfs::builder {
namespace {

constexpr size_t kMaxXattrListBytes = 64 << 10;   // XATTR_LIST_MAX
constexpr size_t kMaxXattrValueBytes = 64 << 10;  // XATTR_SIZE_MAX
constexpr size_t kMaxSymlinkBytes = 4096;         // PATH_MAX

class Import {
 public:
  Import(const DirectorySource& source, std::string into, tree::Tree& tree, Contents& contents)
      : source_(source),
        into_(std::move(into)),
        tree_(tree),
        merger_(tree),
        contents_(contents),
        progress_("reading " + source.path, 0, Progress::Unit::kItems) {}

  Result<> run() {
    UniqueFd top = CFS_TRY(open_at(AT_FDCWD, source_.path, O_RDONLY | O_DIRECTORY));
    if (CFS_TRY(merger_.find_directory(into_)) == nullptr) {
      struct stat status = CFS_TRY(fstat_fd(top.get()));
      tree::Node* node = CFS_TRY(merger_.put(into_, attributes_of(status)));
      CFS_TRY(add_xattrs(top.get(), "", *node));
    }
    return add_entries(top.get(), "");
  }

 private:
  /// Adds what is in the directory `fd`, whose path below the source is `path` ("" or "a/b/").
  Result<> add_entries(int fd, const std::string& path) {
    for (const std::string& name : CFS_TRY(list_directory(fd, "."))) {
      CFS_TRY(check_interrupted());
      CFS_TRY_WITH(fmt::format("while reading '{}/{}{}'", source_.path, path, name),
                   add_entry(fd, path, name));
      progress_.add(1);
    }
    return {};
  }

  Result<> add_entry(int parent, const std::string& path, const std::string& name) {
    struct stat status = CFS_TRY(stat_at(parent, name, AT_SYMLINK_NOFOLLOW));
    std::string relative = path + name;
    std::string place = into_.empty() ? relative : into_ + "/" + relative;
    if (S_ISDIR(status.st_mode)) {
      UniqueFd fd = CFS_TRY(open_at(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
      if (CFS_TRY(merger_.find_directory(place)) == nullptr) {
        tree::Node* node = CFS_TRY(merger_.put(place, attributes_of(status)));
        CFS_TRY(add_xattrs(parent, name, *node));
      }
      return add_entries(fd.get(), relative + "/");
    }
    if (status.st_nlink > 1) {
      auto [known, is_new] = links_.try_emplace({status.st_dev, status.st_ino}, place);
      if (!is_new) {
        CFS_TRY(merger_.put_link(place, known->second));
        return {};
      }
    }
    tree::Node* node = CFS_TRY(merger_.put(place, attributes_of(status)));
    if (S_ISREG(status.st_mode)) {
      CFS_TRY(add_content(parent, name, status, *node));
    } else if (S_ISLNK(status.st_mode)) {
      std::string target(kMaxSymlinkBytes, '\0');
      ssize_t size = ::readlinkat(parent, name.c_str(), target.data(), target.size());
      if (size < 0) return errno_error("cannot read the symlink");
      target.resize(static_cast<size_t>(size));
      CFS_TRY(tree_.set_symlink_target(*node, target));
    } else if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode)) {
      node->rdev = static_cast<uint32_t>(status.st_rdev);
    }
    return add_xattrs(parent, name, *node);
  }

  tree::Attributes attributes_of(const struct stat& status) const {
    return {.mode = status.st_mode,
            .uid = source_.owner ? source_.owner->uid : status.st_uid,
            .gid = source_.owner ? source_.owner->gid : status.st_gid,
            .mtime = {status.st_mtim.tv_sec, static_cast<uint32_t>(status.st_mtim.tv_nsec)}};
  }

  Result<> add_content(int parent, const std::string& name, const struct stat& status,
                       tree::Node& node) {
    UniqueFd fd = CFS_TRY(open_at(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
    if (status.st_size > static_cast<off_t>(kInlineLimitBytes)) {
      store::Batch* batch = CFS_TRY(contents_.batch());
      store::FileDigest object = CFS_TRY(batch->put_file(fd.get(), status));
      tree_.set_object(node, object.digest, object.size_bytes);
      return {};
    }
    std::string text = CFS_TRY(read_fd(fd.get(), kInlineLimitBytes));
    CFS_TRY(store::check_unchanged(fd.get(), status));
    return tree_.set_content(node, text);
  }

  /// Extended attributes of `name` in `parent`, or of `parent` itself when `name` is empty. Works
  /// for symlinks, too. Labels of the build host's SELinux policy stay behind.
  Result<> add_xattrs(int parent, const std::string& name, tree::Node& node) {
    std::string path = fmt::format("/proc/self/fd/{}{}{}", parent, name.empty() ? "/." : "/", name);
    std::string list(kMaxXattrListBytes, '\0');
    ssize_t size = ::llistxattr(path.c_str(), list.data(), list.size());
    if (size < 0 && errno == ENOTSUP) return {};
    if (size < 0) return errno_error("cannot list the extended attributes");
    list.resize(static_cast<size_t>(size));
    for (size_t begin = 0; begin < list.size();) {
      std::string key = list.c_str() + begin;
      begin += key.size() + 1;
      if (key == "security.selinux") continue;
      std::string value(kMaxXattrValueBytes, '\0');
      ssize_t length = ::lgetxattr(path.c_str(), key.c_str(), value.data(), value.size());
      if (length < 0) return errno_error("cannot read the extended attribute '" + key + "'");
      value.resize(static_cast<size_t>(length));
      CFS_TRY(tree_.set_xattr(node, key, value));
    }
    return {};
  }

  const DirectorySource& source_;
  std::string into_;
  tree::Tree& tree_;
  Merger merger_;
  Contents& contents_;
  Progress progress_;
  std::map<std::pair<dev_t, ino_t>, std::string> links_;  ///< first place of files with many names
};

}  // namespace

Result<> import_directory(const DirectorySource& source, tree::Tree& tree, Contents& contents) {
  Import import(source, CFS_TRY(normal_path(source.into)), tree, contents);
  return import.run();
}

}  // namespace cfs::builder
