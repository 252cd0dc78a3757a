// SPDX-License-Identifier: Apache-2.0
//
// FAT has no journal, and a rename there is not one write. What Linux does for
// rename("x.efi.cfs-new", "x.efi") (fs/fat/namei_vfat.c, vfat_rename):
//
//     a  new directory slots "x.efi" with size 0 and no first cluster    (the directory's blocks)
//     b  the inode is attached to them; its size and first cluster go
//        into the slot when the *inode* is written                       (sync of the file)
//     c  the slots "x.efi.cfs-new" are marked as deleted                 (the directory's blocks)
//
// and the disk may see these in any order. Over an existing name a is left out, and b changes one
// slot within one sector: the old file or the new one.
//
// So content and cluster chain are made durable under the temporary name first (fsync). A power cut
// in or after the rename then leaves under the final name: nothing, or a file of size 0, which the
// boot loader does not take for a program, or the whole file. Never a part of one. The content may
// be lost (neither name, or size 0), or have both names; fsck.fat tidies up, and who publishes the
// file again compares the content. None of that matters to the boot as long as the boot loader is
// told of the name only afterwards, when all of it is durable:
//
//     after the rename   syncfs: b too, which an fsync of the directory would leave out, and
//                        directories that are new; then fsync, because syncfs on FAT does not tell
//                        the disk to empty its cache.
//
// The boot loader looks at *.efi and loader.conf only: a temporary name, whole or not, is nothing
// to it.
#include "lib/boot/fat_publish.h"

#include "lib/base/io.h"

namespace cfs::boot {
namespace {

constexpr std::string_view kTemporarySuffix = ".cfs-new";

}  // namespace

Result<> fat_publish(int root_fd, const std::string& path,
                     const std::function<Result<>(int)>& write) {
  const std::string temporary = path + std::string(kTemporarySuffix);
  auto attempt = [&]() -> Result<> {
    UniqueFd file = CFS_TRY(open_beneath(root_fd, temporary, O_WRONLY | O_CREAT | O_EXCL, 0644));
    CFS_TRY(write(file.get()));
    CFS_TRY(fsync_fd(file.get()));
    CFS_TRY(rename_at(root_fd, temporary, root_fd, path));
    return fat_sync(root_fd, file.get());
  };
  Result<> written = attempt();
  if (!written) (void)remove_file(root_fd, temporary);
  return written;
}

Result<> fat_rename(int root_fd, const std::string& from, const std::string& to) {
  UniqueFd file = CFS_TRY(open_regular_beneath(root_fd, from));
  CFS_TRY(rename_at(root_fd, from, root_fd, to));
  return fat_sync(root_fd, file.get());
}

Result<> fat_sync(int root_fd, int file_fd) {
  CFS_TRY(sync_filesystem(root_fd));
  return fsync_fd(file_fd);
}

Result<> fat_remove_leftovers(int root_fd, const std::string& directory) {
  for (const std::string& name : CFS_TRY(list_directory(root_fd, directory))) {
    if (!name.ends_with(kTemporarySuffix)) continue;
    CFS_TRY(remove_file(root_fd, directory + "/" + name));
  }
  return {};
}

}  // namespace cfs::boot
