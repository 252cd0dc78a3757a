// SPDX-License-Identifier: Apache-2.0
#include "deployer/sysroot/var.h"

#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <unordered_map>

#include "deployer/fetch/plan.h"
#include "lib/base/free_space.h"
#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/base/progress.h"
#include "lib/erofs/reader.h"
#include "lib/sysroot/layout.h"

namespace cfs::deployer {
namespace {

constexpr size_t kCopyBytes = 1 << 20;

Result<erofs::Image> read_image(Sysroot& sysroot, const verity::Digest& digest) {
  UniqueFd file = CFS_TRY(sysroot.objects().open_object(digest));
  return erofs::read_image_file(file.get());
}

/// Calls visit(node) for `start` and all below, parents first.
template <typename Visit>
Result<> walk(const tree::Node& start, Visit visit) {
  std::vector<const tree::Node*> stack{&start};
  while (!stack.empty()) {
    const tree::Node* node = stack.back();
    stack.pop_back();
    CFS_TRY(visit(*node));
    auto children = node->children();
    stack.insert(stack.end(), children.rbegin(), children.rend());
  }
  return {};
}

/// "/var/lib/x" → "<as>/lib/x"
std::string path_below(const std::string& as, const tree::Node& node) {
  return as + node.path().substr(std::string_view("/var").size());
}

/// The device number of a node. The image keeps Linux' 32-bit form (huge encoding of 12 and 20
/// bits).
dev_t device_of(const tree::Node& node) {
  uint32_t rdev = node.rdev;
  return makedev((rdev >> 8) & 0xfff, (rdev & 0xff) | ((rdev >> 12) & 0xfff00));
}

/// Writes a tree into a directory that is ours alone.
class Filler {
 public:
  /// The directory stands for /var itself.
  Filler(Sysroot& sysroot, int dir_fd) : sysroot_(sysroot), dir_fd_(dir_fd) {}

  Result<> add(const tree::Node& node) {
    CFS_TRY(check_interrupted());
    const std::string path = path_below(".", node);
    const tree::Node& inode = node.inode();
    if (!inode.is_directory()) {
      auto [first, is_new] = names_.try_emplace(&inode, path);
      if (!is_new) {
        if (::linkat(dir_fd_, first->second.c_str(), dir_fd_, path.c_str(), 0) != 0) {
          return failure(node);
        }
        return {};
      }
    }
    CFS_TRY(make(inode, path));
    CFS_TRY(set_attributes(inode, path));
    if (inode.is_directory()) directories_.emplace_back(&inode, path);
    return {};
  }

  /// Times of directories, which changed while they were filled.
  Result<> finish() {
    for (auto it = directories_.rbegin(); it != directories_.rend(); ++it) {
      CFS_TRY(set_times(*it->first, it->second));
    }
    return {};
  }

 private:
  static Error failure(const tree::Node& node) {
    return errno_error("cannot copy '" + node.path() + "' of the image to '" + sysroot::kVar + "'");
  }

  Result<> make(const tree::Node& inode, const std::string& path) {
    if (path == ".") return {};  // there
    if (inode.is_directory()) {
      if (::mkdirat(dir_fd_, path.c_str(), 0700) != 0) return failure(inode);
    } else if (inode.is_symlink()) {
      std::string target(inode.symlink_target());
      if (::symlinkat(target.c_str(), dir_fd_, path.c_str()) != 0) return failure(inode);
    } else if (inode.is_regular()) {
      UniqueFd file = CFS_TRY(open_at(dir_fd_, path, O_WRONLY | O_CREAT | O_EXCL, 0600));
      if (inode.is_external()) {
        UniqueFd object = CFS_TRY(sysroot_.objects().open_object(*inode.digest()));
        while (size_t count = CFS_TRY(read_full(object.get(), buffer_))) {
          CFS_TRY(write_full(file.get(), Bytes(buffer_).first(count)));
        }
      } else {
        CFS_TRY(write_full(file.get(), as_bytes(inode.content())));
      }
    } else if (::mknodat(dir_fd_, path.c_str(), inode.attributes.mode & (S_IFMT | 0600),
                         inode.is_device() ? device_of(inode) : 0) != 0) {
      return failure(inode);
    }
    return {};
  }

  Result<> set_attributes(const tree::Node& inode, const std::string& path) {
    const tree::Attributes& attributes = inode.attributes;
    if (::fchownat(dir_fd_, path.c_str(), attributes.uid, attributes.gid, AT_SYMLINK_NOFOLLOW) !=
        0) {
      return failure(inode);
    }
    // After the owner, whose change takes set-user-ID bits away.
    if (!inode.is_symlink() && ::fchmodat(dir_fd_, path.c_str(), attributes.mode & 07777, 0) != 0) {
      return failure(inode);
    }
    // And after both: a change of owner takes capabilities away, one of mode rewrites ACLs.
    std::string absolute = "/proc/self/fd/" + std::to_string(dir_fd_) + "/" + path;
    for (const tree::Xattr* xattr : inode.xattrs()) {
      std::string key(xattr->key);
      if (::lsetxattr(absolute.c_str(), key.c_str(), xattr->value.data(), xattr->value.size(), 0) !=
          0) {
        return failure(inode);
      }
    }
    return set_times(inode, path);
  }

  Result<> set_times(const tree::Node& inode, const std::string& path) {
    const tree::Timestamp& mtime = inode.attributes.mtime;
    timespec times[2] = {{.tv_sec = mtime.seconds, .tv_nsec = mtime.nanoseconds},
                         {.tv_sec = mtime.seconds, .tv_nsec = mtime.nanoseconds}};
    if (::utimensat(dir_fd_, path.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) return failure(inode);
    return {};
  }

  Sysroot& sysroot_;
  int dir_fd_;
  std::vector<std::byte> buffer_ = std::vector<std::byte>(kCopyBytes);
  std::unordered_map<const tree::Node*, std::string> names_;  // first name of each inode
  std::vector<std::pair<const tree::Node*, std::string>> directories_;
};

}  // namespace

Result<> fill_var(Sysroot& sysroot, const verity::Digest& image_digest) {
  const Directory& cfs = sysroot.directory();
  if (CFS_TRY(cfs.exists(sysroot::kVar))) return {};
  erofs::Image image = CFS_TRY(read_image(sysroot, image_digest));
  const tree::Node* var = image.tree.find("/var");
  const std::string work = std::string(sysroot::kTemporary) + "/var";
  CFS_TRY(cfs.remove_tree(work));
  CFS_TRY(cfs.make_directories(work, 0755));
  if (var != nullptr && var->is_directory()) {
    uint64_t bytes = 0;
    uint64_t inodes = 0;
    CFS_TRY(walk(*var, [&](const tree::Node& node) -> Result<> {
      bytes += align_up(node.size_bytes, 4096);
      ++inodes;
      return {};
    }));
    CFS_TRY(require_space(cfs.fd(), "the sysroot, for /var,", bytes + kMarginBytes,
                          inodes + kMarginInodes));
    Progress progress("filling /var", inodes, Progress::Unit::kItems);
    Directory place = CFS_TRY(cfs.open_directory(work));
    Filler filler(sysroot, place.fd());
    CFS_TRY(walk(*var, [&](const tree::Node& node) -> Result<> {
      progress.add(1);
      return filler.add(node);
    }));
    CFS_TRY(filler.finish());
  }
  CFS_TRY(sync_filesystem(cfs.fd()));
  CFS_TRY(cfs.rename(work, sysroot::kVar));
  return cfs.sync(sysroot::kState);
}

Result<std::vector<disk::RootEntry>> var_entries(Sysroot& sysroot,
                                                 const verity::Digest& image_digest,
                                                 const std::string& as) {
  erofs::Image image = CFS_TRY(read_image(sysroot, image_digest));
  const tree::Node* var = image.tree.find("/var");
  std::vector<disk::RootEntry> entries;
  if (var == nullptr || !var->is_directory()) {
    entries.push_back({.path = as, .mode = S_IFDIR | 0755});
    return entries;
  }
  std::unordered_map<const tree::Node*, std::string> names;
  CFS_TRY(walk(*var, [&](const tree::Node& node) -> Result<> {
    const tree::Node& inode = node.inode();
    disk::RootEntry entry{.path = path_below(as, node)};
    auto [first, is_new] = names.try_emplace(&inode, entry.path);
    if (!is_new) {
      entry.link_to = first->second;
      entries.push_back(std::move(entry));
      return {};
    }
    entry.mode = inode.attributes.mode;
    entry.uid = inode.attributes.uid;
    entry.gid = inode.attributes.gid;
    entry.mtime_seconds = inode.attributes.mtime.seconds;
    entry.mtime_nanoseconds = inode.attributes.mtime.nanoseconds;
    if (inode.is_device()) entry.device = device_of(inode);
    entry.symlink_target = inode.symlink_target();
    if (inode.is_external()) {
      entry.content = disk::HostFile{sysroot.path() + "/" + sysroot::kSysrootDirectory + "/" +
                                     sysroot::object_path(*inode.digest())};
    } else if (inode.is_regular()) {
      entry.content = std::string(inode.content());
    }
    for (const tree::Xattr* xattr : inode.xattrs()) {
      entry.xattrs.emplace_back(xattr->key, xattr->value);
    }
    entries.push_back(std::move(entry));
    return {};
  }));
  return entries;
}

}  // namespace cfs::deployer
