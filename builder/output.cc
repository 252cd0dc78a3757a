// SPDX-License-Identifier: Apache-2.0
#include "builder/output.h"

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>

#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/release/description.h"

namespace cfs::builder {
namespace {

namespace fs = std::filesystem;

constexpr mode_t kDirectoryMode = 0755;
constexpr mode_t kFileMode = 0644;

Result<> check_replaceable(const std::string& path) {
  if (!stat_at(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW)) return {};
  Result<std::string> release =
      read_file(AT_FDCWD, path + "/release.json", release::kMaxDescriptionBytes);
  if (release && release::parse_description(*release)) return {};
  return make_error(ErrorCode::kExists, "'" + path + "' is there and is not the output of a build")
      .with_hint("remove it, or name another directory with -o");
}

}  // namespace

Result<std::string> real_path(const std::string& path) {
  std::error_code failure;
  fs::path absolute = fs::absolute(path, failure);
  fs::path real = failure ? fs::path() : fs::weakly_canonical(absolute, failure);
  if (failure) return errno_error("cannot use '" + path + "'", failure.value());
  std::string text = real.string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

Result<Output> Output::create(const std::string& path) {
  CFS_TRY(check_replaceable(path));
  // A sibling, so that the last step is a rename within one file system.
  std::string parent = fs::path(path).parent_path().string();
  std::string prefix = "." + fs::path(path).filename().string() + ".cfs-build-";
  std::string doing = "while preparing the output '" + path + "'";
  CFS_TRY_WITH(doing, make_directories(AT_FDCWD, parent));
  return Output(path, CFS_TRY_WITH(doing, WorkDirectory::create(AT_FDCWD, parent, prefix)));
}

Result<> Output::write(const std::string& name, Bytes content) const {
  UniqueFd file = CFS_TRY(open_at(fd(), name, O_WRONLY | O_CREAT | O_EXCL, kFileMode));
  CFS_TRY_WITH("while writing '" + name + "'", write_full(file.get(), content));
  return {};
}

Result<> Output::link_store(const std::string& path) const {
  fs::path target = fs::path(path).lexically_relative(final_path_);
  CFS_TRY(make_directories(AT_FDCWD, path));
  if (::symlinkat(target.c_str(), fd(), "objects") != 0) {
    return errno_error("cannot make the link 'objects' to the store '" + path + "'");
  }
  return {};
}

Result<> Output::publish() {
  CFS_TRY(check_replaceable(final_path_));
  CFS_TRY(check_interrupted());
  return directory_.publish(AT_FDCWD, final_path_, kDirectoryMode, Existing::kReplace);
}

}  // namespace cfs::builder
