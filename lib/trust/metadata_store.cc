// SPDX-License-Identifier: Apache-2.0
#include "lib/trust/metadata_store.h"

#include <fmt/format.h>

#include "lib/base/atomic_file.h"
#include "lib/base/io.h"

namespace cfs::trust {

Result<MetadataDirectory> MetadataDirectory::open(int dir_fd, const std::string& path) {
  CFS_TRY(make_directories(dir_fd, path));
  return MetadataDirectory(CFS_TRY(open_at(dir_fd, path, O_RDONLY | O_DIRECTORY)));
}

Result<std::optional<Unverified<std::string>>> MetadataDirectory::load(std::string_view name,
                                                                       size_t limit_bytes) {
  Result<UniqueFd> file =
      open_at(directory_.get(), std::string(name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!file && file.error().code == ErrorCode::kNotFound) {
    return std::optional<Unverified<std::string>>();
  }
  auto damaged = [&] {
    return make_error(ErrorCode::kCorrupt,
                      fmt::format("'{}' is not a file of at most {} bytes", name, limit_bytes));
  };
  if (!file) {
    const int reason = file.error().sys_errno;
    if (reason == ELOOP || reason == ENXIO) return damaged();  // a symlink, a socket
    return std::move(file).error();
  }
  struct stat status = CFS_TRY(fstat_fd(file->get()));
  if (!S_ISREG(status.st_mode) || static_cast<uint64_t>(status.st_size) > limit_bytes) {
    return damaged();
  }
  return std::optional(Unverified(CFS_TRY(read_fd(file->get(), limit_bytes, Maker::kCfs))));
}

Result<> MetadataDirectory::save(std::string_view name, std::string_view content) {
  const std::string path(name);
  // Nothing can be renamed over a directory, and one here is damage like any other.
  Result<struct stat> there = stat_at(directory_.get(), path, AT_SYMLINK_NOFOLLOW);
  if (there && S_ISDIR(there->st_mode)) CFS_TRY(remove_tree(directory_.get(), path));
  return write_file_atomically(directory_.get(), path, as_bytes(content));
}

Result<> MetadataDirectory::remove(std::string_view name) {
  CFS_TRY(remove_tree(directory_.get(), std::string(name)));
  return fsync_directory(directory_.get(), ".");
}

Result<std::optional<Unverified<std::string>>> MetadataInMemory::load(std::string_view name,
                                                                      size_t limit_bytes) {
  auto found = files.find(name);
  if (found == files.end()) return std::optional<Unverified<std::string>>();
  if (found->second.size() > limit_bytes) {
    return make_error(ErrorCode::kCorrupt,
                      fmt::format("'{}' is larger than {} bytes", name, limit_bytes));
  }
  return std::optional(Unverified(found->second));
}

Result<> MetadataInMemory::save(std::string_view name, std::string_view content) {
  files.insert_or_assign(std::string(name), std::string(content));
  return {};
}

Result<> MetadataInMemory::remove(std::string_view name) {
  files.erase(std::string(name));
  return {};
}

}  // namespace cfs::trust
