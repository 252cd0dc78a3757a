// SPDX-License-Identifier: Apache-2.0
#include "initramfs/other_deployment.h"

#include <limits.h>
#include <unistd.h>

#include <algorithm>
#include <initializer_list>

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

struct Startable {
  std::string id;
  std::string file;
};

/// The deployments in these roles that have an entry, each once, in this order; those that are
/// marked bad come last.
std::vector<Startable> startable(int cfs_fd, std::initializer_list<const char*> roles,
                                 const std::vector<std::string>& entries) {
  std::vector<Startable> result;
  for (const bool is_bad : {false, true}) {
    for (const char* role : roles) {
      const std::string id = id_of(cfs_fd, role);
      auto is_it = [&](const Startable& one) { return one.id == id; };
      if (id.empty() || is_marked_bad(cfs_fd, id) != is_bad ||
          std::any_of(result.begin(), result.end(), is_it)) {
        continue;
      }
      auto found = std::find_if(entries.begin(), entries.end(), [&](const std::string& file) {
        return deployment_of_file(file) == id;
      });
      if (found != entries.end()) result.push_back({id, *found});
    }
  }
  return result;
}

/// The entry to start instead of that of `id` when this is all that is known. They stand in a
/// circle, so that each gets its turn. It begins with what ran last, which mostly is what the boot
/// loader starts by itself: so the recovery comes after the previous one.
std::optional<std::string> entry_after(int cfs_fd, const std::string& id,
                                       const std::vector<std::string>& entries) {
  std::vector<Startable> circle = startable(cfs_fd, {"booted", "previous", "recovery"}, entries);
  auto own = std::find_if(circle.begin(), circle.end(),
                          [&](const Startable& one) { return one.id == id; });
  if (own != circle.end()) std::rotate(circle.begin(), own + 1, circle.end());
  if (circle.empty() || circle.front().id == id) return std::nullopt;
  return circle.front().file;
}

}  // namespace

std::optional<std::string> entry_of_other_deployment(int cfs_fd,
                                                     const std::vector<std::string>& tried,
                                                     const std::vector<std::string>& entries) {
  for (const auto& [id, file] : startable(cfs_fd, {"previous", "booted", "recovery"}, entries)) {
    if (!contains(tried, id)) return file;
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
    const std::vector<std::string> entries = CFS_TRY(boot::loader_entries(efi_variables));
    other = recorded ? entry_of_other_deployment(cfs_fd, failure.tried, entries)
                     : entry_after(cfs_fd, id, entries);
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
