// SPDX-License-Identifier: Apache-2.0
#include "initramfs/other_deployment.h"

#include <limits.h>
#include <unistd.h>

#include <algorithm>

#include "lib/base/io.h"
#include "lib/boot/boot_counter.h"
#include "lib/boot/efi_variables.h"
#include "lib/sysroot/layout.h"

namespace cfs::initramfs {
namespace {

constexpr size_t kMaxRecordBytes = 64 << 10;

/// The id of the deployment that a reference leads to; "": none.
std::string id_of(int cfs_fd, const char* role) {
  char target[PATH_MAX];
  const std::string path = sysroot::reference_path(role);
  const ssize_t size = ::readlinkat(cfs_fd, path.c_str(), target, sizeof(target));
  const std::string parent = sysroot::reference_target("");
  const std::string_view text(target, size < 0 ? 0 : static_cast<size_t>(size));
  return text.starts_with(parent) ? std::string(text.substr(parent.size())) : "";
}

/// Its record is canonical JSON, in which a quote inside a string is escaped.
bool is_marked_bad(int cfs_fd, const std::string& id) {
  Result<std::string> text = read_file(cfs_fd, sysroot::record_path(id), kMaxRecordBytes);
  return text && text->find("\"state\":\"bad\"") != std::string::npos;
}

/// `file`: as the boot loader lists its entries. "": it starts no deployment.
std::string deployment_of_file(std::string_view file) {
  constexpr std::string_view kSuffix = ".efi";
  if (!file.ends_with(kSuffix)) return "";
  file.remove_suffix(kSuffix.size());
  return boot::deployment_of_entry(boot::split_counter(file).id);
}

bool contains(const std::vector<std::string>& ids, const std::string& id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

}  // namespace

std::optional<std::string> entry_of_other_deployment(int cfs_fd,
                                                     const std::vector<std::string>& tried,
                                                     const std::vector<std::string>& entries) {
  for (const bool is_bad : {false, true}) {
    for (const char* role : {"previous", "booted", "recovery"}) {
      const std::string id = id_of(cfs_fd, role);
      if (id.empty() || contains(tried, id) || is_marked_bad(cfs_fd, id) != is_bad) continue;
      for (const std::string& file : entries) {
        if (deployment_of_file(file) == id) return file;
      }
    }
  }
  return std::nullopt;
}

Result<std::optional<std::string>> leave_behind(int cfs_fd, const std::string& efi_variables,
                                                BootFailure failure) {
  std::optional<std::string> other;
  failure.tried = tried_before(cfs_fd);
  std::optional<std::string> started;
  if (!efi_variables.empty()) started = CFS_TRY(boot::selected_entry(efi_variables));
  const std::string id = started ? boot::deployment_of_entry(*started) : "";
  const bool fails_again = contains(failure.tried, id);
  if (!id.empty() && !fails_again) failure.tried.push_back(id);
  Result<> recorded = record_failure(cfs_fd, failure);
  const bool is_to_ask = !id.empty() && (fails_again || !recorded);
  if (is_to_ask && !CFS_TRY(boot::is_counted_boot(efi_variables))) {
    other = entry_of_other_deployment(cfs_fd, failure.tried,
                                      CFS_TRY(boot::loader_entries(efi_variables)));
    if (other) {
      CFS_TRY(boot::start_once(efi_variables, *other));
      failure.tried.push_back(deployment_of_file(*other));
    } else {
      failure.tried.clear();
    }
    if (recorded) recorded = record_failure(cfs_fd, failure);
  }
  if (!recorded && !other) return Error(std::move(recorded).error());
  return other;
}

}  // namespace cfs::initramfs
