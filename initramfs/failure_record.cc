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
constexpr std::string_view kTried = ",\"tried\":[";

}  // namespace

std::string failure_json(const BootFailure& failure) {
  std::string quoted;
  for (char c : std::string_view(failure.text).substr(0, kMaxTextBytes)) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c >= ' ' && c <= '~' ? c : '?';
  }
  std::string tried;
  for (const std::string& id : failure.tried) tried += (tried.empty() ? "\"" : ",\"") + id + "\"";
  return "{\"code\":\"" + failure.code + "\",\"digest\":\"" + failure.digest.hex() +
         "\",\"schema\":1,\"text\":\"" + quoted + "\"" + std::string(kTried) + tried + "]}\n";
}

Result<UniqueFd> open_failed_sysroot(const std::string& disk) {
  struct statfs file_system = {};
  if (::statfs(disk.c_str(), &file_system) != 0) return errno_error("cannot look at " + disk);
  if (file_system.f_type == RAMFS_MAGIC || file_system.f_type == TMPFS_MAGIC) {
    return make_error(ErrorCode::kNotFound, "no disk is mounted at '" + disk + "'");
  }
  UniqueFd mounted = CFS_TRY(open_at(AT_FDCWD, disk, O_PATH | O_DIRECTORY));
  auto make_writable = [&]() -> Result<UniqueFd> {
    mount::FsContext context = CFS_TRY(mount::FsContext::pick(disk));
    CFS_TRY(context.set_flag("rw"));
    CFS_TRY(context.reconfigure());
    // The mount itself is read-only too: through one of our own, then, that stands nowhere.
    UniqueFd top = CFS_TRY(mount::clone_mount(mounted.get()));
    CFS_TRY(mount::set_mount_attributes(top.get(), 0, MOUNT_ATTR_RDONLY));
    return top;
  };
  if (Result<UniqueFd> writable = make_writable()) mounted = std::move(*writable);
  return open_beneath(mounted.get(), sysroot::kSysrootDirectory, O_RDONLY | O_DIRECTORY);
}

std::vector<std::string> tried_before(int cfs_fd) {
  std::vector<std::string> tried;
  Result<UniqueFd> file = open_regular_beneath(cfs_fd, sysroot::kBootFailure);
  if (!file) return tried;
  Result<std::string> text = read_fd(file->get(), kMaxRecordBytes);
  if (!text) return tried;
  // A quote inside of another text is escaped.
  const size_t found = text->find(kTried);
  if (found == std::string::npos) return tried;
  std::string_view rest = std::string_view(*text).substr(found + kTried.size());
  while (rest.starts_with('"') || rest.starts_with(",\"")) {
    rest.remove_prefix(rest.find('"') + 1);
    const size_t end = rest.find('"');
    if (end == std::string_view::npos) break;
    tried.emplace_back(rest.substr(0, end));
    rest.remove_prefix(end + 1);
  }
  return tried;
}

Result<> record_failure(int cfs_fd, const BootFailure& failure) {
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
  return write_file_atomically(boot.get(), name, as_bytes(failure_json(failure)));
}

}  // namespace cfs::initramfs
