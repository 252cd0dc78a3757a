// SPDX-License-Identifier: Apache-2.0
#include "deployer/sysroot/boot_evidence.h"

#include <algorithm>
#include <charconv>

#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/sysroot/layout.h"

namespace cfs::deployer {
namespace {

constexpr int kSchema = 1;
constexpr size_t kMaxFailureBytes = 16 << 10;
constexpr size_t kMaxCodeBytes = 32;
constexpr size_t kMaxNumberBytes = 32;
constexpr size_t kMaxTried = 1000;
constexpr size_t kMaxLogBytes = 1 << 20;
/// WDIOF_CARDRESET of linux/watchdog.h.
constexpr unsigned kWatchdogReset = 0x20;

/// What cfs-mount-root wrote down.
struct BootFailure {
  verity::Digest image;
  Reason reason;
  std::vector<std::string> tried;
};

/// Errors: kInvalidInput (not such a record); those of reading.
Result<BootFailure> read_boot_failure(const Sysroot& sysroot) {
  std::string text =
      CFS_TRY(sysroot.directory().read_file(sysroot::kBootFailure, kMaxFailureBytes));
  json::Value json = CFS_TRY(json::parse(text, {}, sysroot::kBootFailure));
  json::Reader reader(json, sysroot::kBootFailure);
  json::Reader schema = CFS_TRY(reader.member("schema"));
  if (CFS_TRY(schema.integer()) != kSchema) return schema.refuse("is not known");
  const verity::Sha256Digest digest = CFS_TRY(CFS_TRY(reader.member("digest")).sha256());
  BootFailure failure{.image = verity::Digest::parse(digest.hex()).value(),
                      .reason = {.kind = ReasonKind::kFatal},
                      .tried = {}};
  json::Reader code = CFS_TRY(reader.member("code"));
  failure.reason.what = CFS_TRY(code.text(kMaxCodeBytes));
  if (failure.reason.what.find_first_not_of("abcdefghijklmnopqrstuvwxyz-") != std::string::npos) {
    return code.refuse("is not a code");
  }
  failure.reason.detail = detail_of(CFS_TRY(CFS_TRY(reader.member("text")).text(kMaxFailureBytes)));
  // An earlier version's has none.
  if (std::optional<json::Reader> tried = CFS_TRY(reader.optional_member("tried"))) {
    const std::vector<json::Reader> ids = CFS_TRY(tried->elements(kMaxTried));
    for (const json::Reader& id : ids) {
      failure.tried.push_back(CFS_TRY(id.text(kMaxFailureBytes)));
    }
  }
  return failure;
}

/// Of any of the machine's watchdogs.
bool watchdog_has_reset(const std::string& kernel_objects) {
  const std::string watchdogs = kernel_objects + "/class/watchdog";
  Result<std::vector<std::string>> names = list_directory(AT_FDCWD, watchdogs);
  if (!names) return false;
  for (const std::string& name : *names) {
    Result<std::string> text =
        read_file(AT_FDCWD, watchdogs + "/" + name + "/bootstatus", kMaxNumberBytes);
    unsigned status = 0;
    if (text) std::from_chars(text->data(), text->data() + text->size(), status);
    if ((status & kWatchdogReset) != 0) return true;
  }
  return false;
}

/// The line of a kernel's panic in pstore; nothing when there is none.
std::optional<std::string> panic_line(const std::string& kernel_objects) {
  const std::string pstore = kernel_objects + "/fs/pstore";
  Result<std::vector<std::string>> names = list_directory(AT_FDCWD, pstore);
  if (!names) return std::nullopt;
  for (const std::string& name : *names) {
    if (!name.starts_with("dmesg-")) continue;
    Result<std::string> text = read_file(AT_FDCWD, pstore + "/" + name, kMaxLogBytes);
    if (!text) continue;
    size_t begin = text->find("Kernel panic");
    if (begin == std::string::npos) continue;
    return text->substr(begin, text->find('\n', begin) - begin);
  }
  return std::nullopt;
}

}  // namespace

Result<std::vector<std::string>> given_up_early(const Sysroot& sysroot,
                                                const std::string& running) {
  std::vector<std::string> given_up;
  Result<BootFailure> failure = read_boot_failure(sysroot);
  CFS_TRY(check_interrupted());
  if (!failure) return given_up;
  auto asked = std::find(failure->tried.begin(), failure->tried.end(), running);
  if (asked != failure->tried.end()) given_up.assign(failure->tried.begin(), asked);
  return given_up;
}

Result<Reason> evidence_of_failure(const Sysroot& sysroot, const Environment& environment,
                                   const verity::Digest& image, bool ran_cfs_deploy) {
  Result<BootFailure> failure = read_boot_failure(sysroot);
  CFS_TRY(check_interrupted());
  Reason reason;
  if (failure && failure->image == image) {
    reason = std::move(failure->reason);
  } else if (std::optional<std::string> line = panic_line(environment.kernel_objects)) {
    reason = {.kind = ReasonKind::kPanicked, .what = {}, .detail = detail_of(*line)};
  } else if (watchdog_has_reset(environment.kernel_objects)) {
    reason.kind = ReasonKind::kHung;
  } else {
    reason = {.kind = ReasonKind::kNoHealth,
              .what = {},
              .detail = ran_cfs_deploy ? "it reached user space, and ended before it was proven"
                                       : "it never came as far as cfs-deploy"};
  }
  return reason;
}

Result<> forget_boot_failure(Sysroot& sysroot) {
  return sysroot.directory().remove_file(sysroot::kBootFailure);
}

}  // namespace cfs::deployer
