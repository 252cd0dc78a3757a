// SPDX-License-Identifier: Apache-2.0
//
// A store has a million objects, most of which stay. So nothing is asked about an object but its
// name, in the order in which the directories have the names; each is looked for among those that
// are kept and begin with the same digits. A directory is read to its end before anything is
// removed from it. Then objects go in the order of their inodes: neighbours on the disk in one go.
// To remove a file is work for the kernel rather than for the disk: each CPU takes a directory.
#include "lib/store/sweep.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "lib/base/hex.h"
#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/base/progress.h"
#include "lib/base/thread_pool.h"

namespace cfs::store {
namespace {

struct Unneeded {
  uint64_t inode = 0;
  std::string name;
};

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

bool may_be_regular(const dirent& entry) {
  return entry.d_type == DT_REG || entry.d_type == DT_UNKNOWN;
}

/// The objects of the directory `fan_out` that are not among `keep`: those that are kept and whose
/// digests begin with its name.
Result<std::vector<Unneeded>> find_unneeded(int fd, const std::string& fan_out,
                                            std::span<const verity::Digest> keep) {
  UniqueFd own = CFS_TRY(open_at(fd, ".", O_RDONLY | O_DIRECTORY));
  std::unique_ptr<DIR, CloseDirectory> directory(::fdopendir(own.get()));
  if (!directory) return errno_error("cannot list '" + fan_out + "'");
  (void)own.release();
  std::vector<Unneeded> unneeded;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(directory.get());  // NOLINT(concurrency-mt-unsafe): our own
    if (entry == nullptr) break;
    if (!may_be_regular(*entry)) continue;
    std::optional<verity::Digest> digest =
        verity::Digest::from_object_path(fan_out + "/" + entry->d_name);
    if (!digest || std::binary_search(keep.begin(), keep.end(), *digest)) continue;
    unneeded.push_back({.inode = entry->d_ino, .name = entry->d_name});
  }
  if (errno != 0) return errno_error("cannot list '" + fan_out + "'");
  std::sort(unneeded.begin(), unneeded.end(),
            [](const Unneeded& a, const Unneeded& b) { return a.inode < b.inode; });
  return unneeded;
}

/// The part of `keep` whose digests begin with the byte `first`.
std::span<const verity::Digest> beginning_with(std::span<const verity::Digest> keep,
                                               std::byte first) {
  auto is_before = [](const verity::Digest& digest, std::byte byte) {
    return digest.bytes()[0] < byte;
  };
  auto is_behind = [](std::byte byte, const verity::Digest& digest) {
    return byte < digest.bytes()[0];
  };
  auto begin = std::lower_bound(keep.begin(), keep.end(), first, is_before);
  auto end = std::upper_bound(begin, keep.end(), first, is_behind);
  return {begin, end};
}

Result<> sweep_directory(int store_fd, const std::string& fan_out,
                         std::span<const verity::Digest> keep, Removal removal, Removed& removed) {
  Result<UniqueFd> fd = open_at(store_fd, fan_out, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!fd) {
    const int reason = fd.error().sys_errno;
    if (reason == ENOENT || reason == ENOTDIR || reason == ELOOP) return {};
    return std::move(fd).error();
  }
  for (const Unneeded& object : CFS_TRY(find_unneeded(fd->get(), fan_out, keep))) {
    CFS_TRY(check_interrupted());
    struct stat status = {};
    if (::fstatat(fd->get(), object.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) continue;  // somebody else removes too
      return errno_error("cannot stat '" + fan_out + "/" + object.name + "'");
    }
    if (!S_ISREG(status.st_mode)) continue;
    if (removal == Removal::kRemove) CFS_TRY(remove_file(fd->get(), object.name));
    constexpr uint64_t kBytesOfABlock = 512;  // stat(2)
    ++removed.objects;
    if (status.st_nlink == 1)
      removed.disk_bytes += static_cast<uint64_t>(status.st_blocks) * kBytesOfABlock;
  }
  return {};
}

}  // namespace

Result<Removed> sweep(int store_fd, std::span<const verity::Digest> keep, Removal removal) {
  constexpr unsigned kDirectories = 0x100;
  Removed all;
  std::mutex mutex;  // protects it
  Progress progress(removal == Removal::kRemove ? "removing objects that nothing needs"
                                                : "looking for objects that nothing needs",
                    kDirectories, Progress::Unit::kItems);
  ThreadPool pool(available_cpus());
  for (unsigned first = 0; first < kDirectories; ++first) {
    pool.submit([&, byte = static_cast<std::byte>(first)]() -> Result<> {
      CFS_TRY(check_interrupted());
      Removed removed;
      CFS_TRY(sweep_directory(store_fd, to_hex(std::span(&byte, 1)), beginning_with(keep, byte),
                              removal, removed));
      std::lock_guard lock(mutex);
      all.objects += removed.objects;
      all.disk_bytes += removed.disk_bytes;
      progress.add(1);
      return {};
    });
  }
  CFS_TRY(pool.finish());
  return all;
}

}  // namespace cfs::store
