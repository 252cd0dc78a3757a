// SPDX-License-Identifier: Apache-2.0
#include "initramfs/reset.h"

#include "initramfs/etc.h"
#include "initramfs/failure.h"
#include "lib/base/directory.h"
#include "lib/base/io.h"
#include "lib/base/work_directory.h"
#include "lib/sysroot/layout.h"
#include "lib/sysroot/reset_request.h"

namespace cfs::initramfs {
namespace {

constexpr int kDirectoryFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
constexpr std::string_view kWorkPrefix = ".cfs-reset-";

// The record of what releases have brought to /var goes first: without it the next delivery brings
// everything once more. In the other order a power cut would leave an empty /var, of which the
// record says that it is filled.
Result<> empty_var(const Directory& cfs) {
  CFS_TRY(cfs.remove_file(sysroot::kVarRecord));
  CFS_TRY(cfs.sync(sysroot::kState));
  WorkDirectory work = CFS_TRY(WorkDirectory::create(cfs.fd(), sysroot::kTemporary, kWorkPrefix));
  return work.publish(cfs.fd(), sysroot::kVar, sysroot::mode_of(sysroot::kVar, true),
                      Existing::kReplace);
}

}  // namespace

Result<> reset_state(int top_fd, int root_fd, const kernel_cmdline::RootPolicy& policy) {
  Directory cfs(CFS_TRY(open_beneath(top_fd, sysroot::kSysrootDirectory, kDirectoryFlags)));
  Result<std::string> text = cfs.read_file(sysroot::kReset, sysroot::kMaxResetRequestBytes);
  if (!text && text.error().code == ErrorCode::kNotFound) return {};
  const std::string doing = "while resetting what '" + std::string(sysroot::kReset) + "' asks for";
  sysroot::ResetRequest request =
      CFS_TRY_WITH(doing, sysroot::parse_reset_request(CFS_TRY_WITH(doing, std::move(text))));
  CFS_TRY_WITH(doing, cfs.make_directories(sysroot::kTemporary,
                                           sysroot::mode_of(sysroot::kTemporary, true)));
  if (request.etc) {
    UniqueFd etc = CFS_TRY_WITH(doing, open_beneath(root_fd, "etc", kDirectoryFlags));
    CFS_TRY_WITH(doing, discard_etc(cfs, etc.get(),
                                    request.identity ? std::vector<std::string>() : policy.keep));
    log_notice("reset /etc");
  }
  if (request.var) {
    CFS_TRY_WITH(doing, empty_var(cfs));
    log_notice("reset /var");
  }
  CFS_TRY_WITH(doing, cfs.remove_file(sysroot::kReset));
  return cfs.sync(sysroot::kState);
}

}  // namespace cfs::initramfs
