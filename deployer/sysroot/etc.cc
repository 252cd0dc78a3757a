// SPDX-License-Identifier: Apache-2.0
#include "deployer/sysroot/etc.h"

#include <algorithm>
#include <optional>

#include "lib/sysroot/layout.h"

namespace cfs::deployer {
namespace {

constexpr size_t kMaxDepth = 64;

std::string etc_path(const std::string& name) { return std::string(sysroot::kEtc) + "/" + name; }

/// The image whose /etc the home of that name is.
std::optional<verity::Digest> image_of_home(std::string_view name) {
  for (std::string_view suffix : {sysroot::kEtcOverlaySuffix, sysroot::kEtcMergeSuffix}) {
    if (!name.ends_with(suffix)) continue;
    std::optional<verity::Digest> image =
        verity::Digest::parse(name.substr(0, name.size() - suffix.size()));
    if (image) return image;
  }
  return std::nullopt;
}

/// The name of the home that was used last; "" when there is none, or it is not known: the next
/// boot mends that.
Result<std::string> last_home(const Directory& cfs) {
  Result<std::string> name = cfs.read_link(etc_path(sysroot::kEtcLast));
  if (!name) {
    const ErrorCode why = name.error().code;
    if (why == ErrorCode::kNotFound || why == ErrorCode::kInvalidInput) return std::string();
    return name;
  }
  const bool is_home = *name == sysroot::kEtcKept || image_of_home(*name);
  if (!is_home || !CFS_TRY(cfs.exists(etc_path(*name)))) return std::string();
  return name;
}

/// Removes homes of images, or only counts. Each goes away in one step, so that a cut leaves none
/// in part. Returns the bytes that this frees.
template <typename IsUnneeded>
Result<uint64_t> remove_homes(Sysroot& sysroot, IsUnneeded is_unneeded, store::Removal removal) {
  uint64_t bytes = 0;
  const Directory& cfs = sysroot.directory();
  Result<std::vector<std::string>> names = cfs.list(sysroot::kEtc);
  if (!names && names.error().code == ErrorCode::kNotFound) return bytes;
  if (!names) return Error(std::move(names).error());
  const std::string last = CFS_TRY(last_home(cfs));
  if (last.empty()) return bytes;  // any of them may be the one that is mounted
  for (const std::string& name : *names) {
    std::optional<verity::Digest> image = image_of_home(name);
    if (!image || name == last || !is_unneeded(*image)) continue;
    bytes += CFS_TRY(cfs.disk_bytes(etc_path(name)));
    if (removal == store::Removal::kOnlyCount) continue;
    const std::string aside = std::string(sysroot::kTemporary) + "/etc";
    CFS_TRY(cfs.remove_tree(aside));
    CFS_TRY(cfs.rename(etc_path(name), aside));
    CFS_TRY(cfs.sync(sysroot::kEtc));
    CFS_TRY(cfs.remove_tree(aside));
  }
  return bytes;
}

// NOLINTNEXTLINE(misc-no-recursion): kMaxDepth
Result<> find_conflicts(const Directory& directory, const std::string& path, size_t depth,
                        std::vector<std::string>& found) {
  for (const std::string& name : CFS_TRY(directory.list())) {
    struct stat status = CFS_TRY(directory.stat(name));
    const std::string here = path + "/" + name;
    if (name.size() > sysroot::kTheirsSuffix.size() && name.ends_with(sysroot::kTheirsSuffix)) {
      found.push_back(here.substr(0, here.size() - sysroot::kTheirsSuffix.size()));
    } else if (S_ISDIR(status.st_mode) && depth < kMaxDepth) {
      CFS_TRY(find_conflicts(CFS_TRY(directory.open_directory(name)), here, depth + 1, found));
    }
  }
  return {};
}

}  // namespace

Result<> forget_etc(Sysroot& sysroot, const verity::Digest& image) {
  CFS_TRY(remove_homes(
      sysroot, [&](const verity::Digest& of) { return of == image; }, store::Removal::kRemove));
  return {};
}

Result<uint64_t> remove_unneeded_etc(Sysroot& sysroot, const std::set<verity::Digest>& installed,
                                     store::Removal removal) {
  return remove_homes(
      sysroot, [&](const verity::Digest& of) { return !installed.contains(of); }, removal);
}

Result<std::vector<std::string>> etc_conflicts(const Sysroot& sysroot) {
  const Directory& cfs = sysroot.directory();
  std::vector<std::string> found;
  const std::string last = CFS_TRY(last_home(cfs));
  if (!last.ends_with(sysroot::kEtcMergeSuffix)) return found;
  Directory tree = CFS_TRY(cfs.open_directory(etc_path(last) + "/" + sysroot::kEtcTree));
  CFS_TRY(find_conflicts(tree, "/etc", 0, found));
  for (std::string& path : found) {
    std::replace_if(
        path.begin(), path.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace cfs::deployer
