// SPDX-License-Identifier: Apache-2.0
// Files on FAT, which has no journal, so that a power cut at any instant leaves nothing half under
// a name that counts. `root_fd`: the root directory of the mounted file system; paths are below it.
#pragma once

#include <functional>
#include <string>

#include "lib/base/result.h"

namespace cfs::boot {

/// Makes the file `path` of what `write` writes to the descriptor it gets, replacing one that is
/// there; durable when this returns. After a power cut `path` is the old file, nothing, a file of
/// size 0, or the new file.
[[nodiscard]] Result<> fat_publish(int root_fd, const std::string& path,
                                   const std::function<Result<>(int)>& write);

/// Gives the file `from` the name `to`, which nothing has; durable when this returns. After a power
/// cut it has the old name, the new one, both, or it has neither.
[[nodiscard]] Result<> fat_rename(int root_fd, const std::string& from, const std::string& to);

/// Makes a file that was written, and the directories that lead to it, durable.
[[nodiscard]] Result<> fat_sync(int root_fd, int file_fd);

/// Removes what a fat_publish() in that directory has left behind when it was cut off.
[[nodiscard]] Result<> fat_remove_leftovers(int root_fd, const std::string& directory);

}  // namespace cfs::boot
