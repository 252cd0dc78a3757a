// SPDX-License-Identifier: Apache-2.0
#include "initramfs/failure_record.h"

#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "lib/base/io.h"
#include "lib/mount/fs_context.h"
#include "lib/sysroot/layout.h"

namespace cfs::initramfs {
namespace {

constexpr size_t kMaxTextBytes = 4096;
constexpr size_t kMaxRecordBytes = 4 * kMaxTextBytes;

}  // namespace

std::string failure_json(const verity::Digest& digest, std::string_view code,
                         std::string_view text) {
  std::string quoted;
  for (char c : text.substr(0, kMaxTextBytes)) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c >= ' ' && c <= '~' ? c : '?';
  }
  return "{\"code\":\"" + std::string(code) + "\",\"digest\":\"" + digest.hex() +
         "\",\"schema\":1,\"text\":\"" + quoted + "\"}\n";
}

Result<UniqueFd> open_writable_sysroot(const std::string& disk) {
  struct statfs file_system = {};
  if (::statfs(disk.c_str(), &file_system) != 0) return errno_error("cannot look at " + disk);
  if (file_system.f_type == RAMFS_MAGIC || file_system.f_type == TMPFS_MAGIC) {
    return make_error(ErrorCode::kNotFound, "no disk is mounted at '" + disk + "'");
  }
  mount::FsContext context = CFS_TRY(mount::FsContext::pick(disk));
  CFS_TRY(context.set_flag("rw"));
  CFS_TRY(context.reconfigure());
  // The mount itself is read-only too: through one of our own, then, that stands nowhere.
  UniqueFd mounted = CFS_TRY(open_at(AT_FDCWD, disk, O_PATH | O_DIRECTORY));
  UniqueFd top = CFS_TRY(mount::clone_mount(mounted.get()));
  CFS_TRY(mount::set_mount_attributes(top.get(), 0, MOUNT_ATTR_RDONLY));
  return open_beneath(top.get(), sysroot::kSysrootDirectory, O_RDONLY | O_DIRECTORY);
}

Result<bool> record_failure(int cfs_fd, const verity::Digest& digest, std::string_view code,
                            std::string_view text) {
  UniqueFd state = CFS_TRY(open_beneath(cfs_fd, sysroot::kState, O_RDONLY | O_DIRECTORY));
  const std::string folder =
      std::string(sysroot::kBootState).substr(std::string(sysroot::kState).size() + 1);
  if (::mkdirat(state.get(), folder.c_str(), sysroot::mode_of(sysroot::kBootState, true)) != 0 &&
      errno != EEXIST) {
    return errno_error("cannot make '" + std::string(sysroot::kBootState) + "'");
  }
  UniqueFd boot = CFS_TRY(open_beneath(state.get(), folder, O_RDONLY | O_DIRECTORY));
  const std::string name =
      std::string(sysroot::kBootFailure).substr(std::string(sysroot::kBootState).size() + 1);
  Result<std::string> before = read_file(boot.get(), name, kMaxRecordBytes);
  CFS_TRY(write_file_atomically(boot.get(), name, as_bytes(failure_json(digest, code, text))));
  return before && before->find("\"digest\":\"" + digest.hex() + "\"") != std::string::npos;
}

}  // namespace cfs::initramfs
