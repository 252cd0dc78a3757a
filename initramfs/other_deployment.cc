// SPDX-License-Identifier: Apache-2.0
#include "initramfs/other_deployment.h"

#include <limits.h>
#include <unistd.h>

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

/// True if the file is an entry of the deployment: `cfs_<version>_<id>` and a counter.
bool belongs_to(std::string_view file, const std::string& id) {
  constexpr std::string_view kSuffix = ".efi";
  if (!file.ends_with(kSuffix)) return false;
  file.remove_suffix(kSuffix.size());
  return boot::split_counter(file).id.ends_with("_" + id);
}

}  // namespace

std::optional<std::string> entry_of_other_deployment(int cfs_fd, const std::string& selected,
                                                     const std::vector<std::string>& entries) {
  for (const char* role : {"previous", "booted", "recovery"}) {
    const std::string id = id_of(cfs_fd, role);
    if (id.empty() || selected.ends_with("_" + id) || is_marked_bad(cfs_fd, id)) continue;
    for (const std::string& file : entries) {
      if (belongs_to(file, id)) return file;
    }
  }
  return std::nullopt;
}

Result<std::optional<std::string>> ask_for_other_deployment(int cfs_fd,
                                                            const std::string& efi_variables) {
  std::optional<std::string> none;
  if (CFS_TRY(boot::is_counted_boot(efi_variables))) return none;
  const std::optional<std::string> selected = CFS_TRY(boot::selected_entry(efi_variables));
  if (!selected) return none;
  std::optional<std::string> other =
      entry_of_other_deployment(cfs_fd, *selected, CFS_TRY(boot::loader_entries(efi_variables)));
  if (other) CFS_TRY(boot::start_once(efi_variables, *other));
  return other;
}

}  // namespace cfs::initramfs
