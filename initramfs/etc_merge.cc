// SPDX-License-Identifier: Apache-2.0
// Three trees are walked together, name by name. For each name one of these holds:
//
//   local is as base                  nothing was changed here: the new release's stays
//   local is as target                both did the same: nothing to do
//   all three, or local and one of the others, are directories: their entries are looked at
//   target is as base                 only the device changed it: local's goes into target
//   else                              both changed it: target's is put beside, local's goes in
//
// A directory that is missing from base or target counts as an empty one, so that a file the device
// added is brought along into a directory that the new release has dropped, and what it did not
// change there is not.
#include "initramfs/etc_merge.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <set>

#include "initramfs/file_tree.h"
#include "lib/base/io.h"
#include "lib/base/relative_path.h"
#include "lib/kernel_cmdline/root_policy.h"
#include "lib/sysroot/layout.h"

namespace cfs::initramfs {
namespace {

constexpr int kDirectoryFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
constexpr unsigned kMaxDepth = 64;

// A directory of one of the trees; none where that tree has no such directory.
class Place {
 public:
  explicit Place(int fd = -1) : fd_(fd) {}
  explicit Place(UniqueFd owned) : owned_(std::move(owned)), fd_(owned_.get()) {}

  [[nodiscard]] bool is_there() const { return fd_ >= 0; }
  [[nodiscard]] int fd() const { return fd_; }

  // Opens a subdirectory; none if `name` is something else or missing.
  [[nodiscard]] Result<Place> enter(const std::string& name) const {
    if (!is_there()) return Place();
    Result<UniqueFd> opened = open_at(fd_, name, kDirectoryFlags);
    if (opened) return Place(*std::move(opened));
    int why = opened.error().sys_errno;
    if (why == ENOENT || why == ENOTDIR || why == ELOOP) return Place();
    return Error(std::move(opened).error());
  }

  [[nodiscard]] Result<bool> has(const std::string& name) const {
    if (!is_there()) return false;
    Result<struct stat> status = stat_at(fd_, name, AT_SYMLINK_NOFOLLOW);
    if (status) return true;
    if (status.error().code == ErrorCode::kNotFound) return false;
    return Error(std::move(status).error());
  }

  [[nodiscard]] Result<> add_names(std::set<std::string>& names) const {
    if (!is_there()) return {};
    for (std::string& name : CFS_TRY(list_directory(fd_, "."))) names.insert(std::move(name));
    return {};
  }

 private:
  UniqueFd owned_;
  int fd_ = -1;
};

Result<bool> is_same(const Place& one, const Place& other, const std::string& name) {
  bool has_one = CFS_TRY(one.has(name));
  bool has_other = CFS_TRY(other.has(name));
  if (!has_one || !has_other) return has_one == has_other;
  return is_same_entry(one.fd(), name, other.fd(), name);
}

class Merge {
 public:
  explicit Merge(const std::vector<std::string>& keep) : keep_(keep) {}

  // NOLINTNEXTLINE(misc-no-recursion): kMaxDepth
  Result<> directory(const Place& base, const Place& local, const Place& target,
                     const std::string& path) {
    if (++depth_ > kMaxDepth) {
      return make_error(ErrorCode::kCorrupt, "directories are nested too deep at '" + path + "'");
    }
    std::set<std::string> names;
    CFS_TRY(base.add_names(names));
    CFS_TRY(local.add_names(names));
    for (const std::string& name : names) {
      const std::string child = path + "/" + name;
      if (kernel_cmdline::is_kept(keep_, child)) continue;
      CFS_TRY_WITH("at '" + child + "'", entry(base, local, target, name, child));
    }
    --depth_;
    return {};
  }

  // Owner and mode of a directory that base, local and target have.
  static Result<> attributes(const Place& base, const Place& local, const Place& target) {
    if (base.is_there() && CFS_TRY(has_same_attributes(base.fd(), local.fd()))) return {};
    return set_attributes_of(local.fd(), target.fd());
  }

 private:
  // NOLINTNEXTLINE(misc-no-recursion): kMaxDepth
  Result<> entry(const Place& base, const Place& local, const Place& target,
                 const std::string& name, const std::string& path) {
    if (CFS_TRY(is_same(local, base, name)) || CFS_TRY(is_same(local, target, name))) return {};
    // The device's copy of what an earlier release had here makes room for that of this one.
    if (name.ends_with(sysroot::kTheirsSuffix) && CFS_TRY(target.has(name))) return {};
    Place inner_local = CFS_TRY(local.enter(name));
    Place inner_base = CFS_TRY(base.enter(name));
    Place inner_target = CFS_TRY(target.enter(name));
    if (inner_local.is_there() && (inner_base.is_there() || inner_target.is_there())) {
      if (inner_target.is_there()) {
        CFS_TRY(attributes(inner_base, inner_local, inner_target));
        return directory(inner_base, inner_local, inner_target, path);
      }
      CFS_TRY(put_aside(target, name));
      if (::mkdirat(target.fd(), name.c_str(), 0700) != 0) {
        return errno_error("cannot make '" + name + "'");
      }
      inner_target = CFS_TRY(target.enter(name));
      CFS_TRY(set_attributes_of(inner_local.fd(), inner_target.fd()));
      CFS_TRY(directory(inner_base, inner_local, inner_target, path));
      // The new release has dropped it, and the device has nothing of its own in it.
      (void)::unlinkat(target.fd(), name.c_str(), AT_REMOVEDIR);
      return {};
    }
    if (CFS_TRY(is_same(target, base, name))) {
      CFS_TRY(remove_tree(target.fd(), name));
    } else {
      CFS_TRY(put_aside(target, name));
    }
    if (!CFS_TRY(local.has(name))) return {};
    return copy_entry(local.fd(), name, target.fd(), name, CopyInto::kTree);
  }

  // Gives what the new release has here, if anything, the name by which it is shown.
  static Result<> put_aside(const Place& target, const std::string& name) {
    if (!CFS_TRY(target.has(name))) return {};
    std::string aside = name + std::string(sysroot::kTheirsSuffix);
    if (!is_plain_name(aside)) return remove_tree(target.fd(), name);  // too long to be shown
    CFS_TRY(remove_tree(target.fd(), aside));
    return rename_at(target.fd(), name, target.fd(), aside);
  }

  const std::vector<std::string>& keep_;
  unsigned depth_ = 0;
};

}  // namespace

Result<> merge_etc(int base_fd, int local_fd, int target_fd, const std::vector<std::string>& keep) {
  const Place base(base_fd);
  const Place local(local_fd);
  const Place target(target_fd);
  CFS_TRY(Merge::attributes(base, local, target));
  return Merge(keep).directory(base, local, target, "/etc");
}

}  // namespace cfs::initramfs
