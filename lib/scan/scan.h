// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "lib/base/progress.h"
#include "lib/base/result.h"
#include "lib/base/thread_pool.h"
#include "lib/store/object_store.h"
#include "lib/tree/tree.h"

namespace cfs::scan {

enum class HardLinks {
  kKeep,      ///< names of one inode become one; the first in tree order holds it
  kSeparate,  ///< each name is a file of its own, as upstream's mkcomposefs does
};
enum class Xattrs { kKeep, kSkip };
enum class Devices { kKeep, kSkip };
enum class Times { kKeep, kEpoch };

struct ScanOptions {
  HardLinks hard_links = HardLinks::kKeep;
  Xattrs xattrs = Xattrs::kKeep;
  /// Asked before a value is read, by several threads at once: what is left out need not be
  /// readable. Empty: all are kept.
  std::function<bool(std::string_view key)> keep_xattr = {};
  Devices devices = Devices::kKeep;  ///< block and character devices; whiteouts too
  Times times = Times::kKeep;
  unsigned threads = available_cpus();  ///< ≥ 1, fewer are used where descriptors are few
  Progress* progress = nullptr;         ///< receives the bytes of file content read
};

/// Reads the directory `path` (not a symlink to one) with all below it into a tree; other file
/// systems mounted in it are entered. Contents that lie outside the image
/// (tree::placement_of) go into `batch`, or are only hashed when it is null.
///
/// Errors carry the path of the file they are about: kSourceChanged (a file or directory changed
/// while it was read), kPermission, kInvalidInput (beyond a limit of tree::Tree), kInterrupted,
/// those of store::Batch.
/// Memory: the tree, 1 MiB a thread. Descriptors: at most 128 besides three a thread, and no more
/// than RLIMIT_NOFILE leaves, from about 20 on. Files without content need not be readable. The
/// result does not depend on the number of threads.
/// Spec: COMPOSEFS-FORMAT.md §3.1.
[[nodiscard]] Result<tree::Tree> scan_directory(int dir_fd, const std::string& path,
                                                const ScanOptions& options, store::Batch* batch);

}  // namespace cfs::scan
