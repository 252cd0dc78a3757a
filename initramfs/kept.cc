// SPDX-License-Identifier: Apache-2.0
#include "initramfs/kept.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "lib/base/atomic_file.h"
#include "lib/base/hex.h"
#include "lib/base/io.h"
#include "lib/base/relative_path.h"
#include "lib/kernel_cmdline/root_policy.h"

namespace cfs::initramfs {
namespace {

constexpr std::string_view kEtc = "/etc/";
constexpr const char* kMachineId = "machine-id";
constexpr size_t kIdBytes = 16;
constexpr int kDirectoryFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;

// Where the last name of a keep-list's entry is looked for.
struct Place {
  std::string directory;  // below /etc; "." for /etc itself
  std::string pattern;
};

Place place_of(const std::string& kept) {
  SplitPath split = split_path(kept.substr(kEtc.size()));
  return {split.directory, split.name};
}

Result<std::vector<std::string>> matching(int dir_fd, const std::string& pattern) {
  std::vector<std::string> names = CFS_TRY(list_directory(dir_fd, "."));
  std::erase_if(names, [&](const std::string& name) {
    return ::fnmatch(pattern.c_str(), name.c_str(), 0) != 0;
  });
  return names;
}

// No fd: there is no such directory.
Result<UniqueFd> open_if_directory(int etc_fd, const std::string& path) {
  Result<UniqueFd> opened = open_beneath(etc_fd, path, kDirectoryFlags);
  if (opened) return opened;
  int why = opened.error().sys_errno;
  if (why == ENOENT || why == ENOTDIR || why == ELOOP) return UniqueFd();
  return opened;
}

// Opens the directory `path` of the /etc `to_fd`. What is missing on the way is made as in the
// image, or as it is in `from_fd` where the image has none.
Result<UniqueFd> make_place(int from_fd, int to_fd, int image_fd, const std::string& path) {
  for (size_t end = 0; end < path.size(); ++end) {
    end = std::min(path.find('/', end), path.size());
    std::string parent = path.substr(0, end);
    if (parent == ".") break;
    if (::mkdirat(to_fd, parent.c_str(), 0755) != 0) {
      if (errno == EEXIST) continue;
      return errno_error("cannot make '/etc/" + parent + "'");
    }
    UniqueFd made = CFS_TRY(open_beneath(to_fd, parent, kDirectoryFlags));
    UniqueFd model = CFS_TRY(open_if_directory(image_fd, parent));
    if (!model.valid()) model = CFS_TRY(open_beneath(from_fd, parent, kDirectoryFlags));
    CFS_TRY(set_attributes_of(model.get(), made.get()));
  }
  return open_beneath(to_fd, path, kDirectoryFlags);
}

// What a directory has that matches.
struct Matches {
  UniqueFd directory;  // not valid: there is no such directory
  std::vector<std::string> names;
};

Result<Matches> find_matches(int etc_fd, const Place& place) {
  Matches found;
  found.directory = CFS_TRY(open_if_directory(etc_fd, place.directory));
  if (found.directory.valid())
    found.names = CFS_TRY(matching(found.directory.get(), place.pattern));
  return found;
}

Result<> carry(EtcDirectory from, EtcDirectory to, int image_fd, const Place& place) {
  Matches old = CFS_TRY(find_matches(to.fd, place));
  for (const std::string& name : old.names) CFS_TRY(remove_tree(old.directory.get(), name));
  auto copy = [&](int etc_fd, const Matches& found, CopyInto into) -> Result<> {
    if (found.names.empty()) return {};
    UniqueFd target = CFS_TRY(make_place(etc_fd, to.fd, image_fd, place.directory));
    for (const std::string& name : found.names) {
      CFS_TRY(copy_entry(found.directory.get(), name, target.get(), name, into));
      if (from.form == EtcForm::kTree && to.form == EtcForm::kLayer &&
          S_ISDIR(CFS_TRY(stat_at(target.get(), name, AT_SYMLINK_NOFOLLOW)).st_mode)) {
        CFS_TRY(make_opaque(target.get(), name));
      }
    }
    return {};
  };
  const Matches kept = CFS_TRY(find_matches(from.fd, place));
  if (to.form == EtcForm::kLayer) return copy(from.fd, kept, CopyInto::kLayer);
  const bool begins_as_image = from.form == EtcForm::kLayer
                                   ? CFS_TRY(shows_lower(from.fd, place.directory))
                                   : kept.names.empty();
  if (begins_as_image) {
    CFS_TRY(copy(image_fd, CFS_TRY(find_matches(image_fd, place)), CopyInto::kTree));
  }
  return copy(from.fd, kept, CopyInto::kTreeBelow);
}

bool is_above_kept(const KeepList& keep, const std::string& path) {
  return std::any_of(keep.begin(), keep.end(),
                     [&](const std::string& kept) { return kept.starts_with(path + "/"); });
}

// NOLINTNEXTLINE(misc-no-recursion): as deep as the keep-list's paths
Result<> prune(int upper_fd, int image_fd, const KeepList& keep, const std::string& path) {
  for (const std::string& name : CFS_TRY(list_directory(upper_fd, "."))) {
    const std::string child_path = path + "/" + name;
    if (kernel_cmdline::is_kept(keep, child_path)) continue;
    struct stat status = CFS_TRY(stat_at(upper_fd, name, AT_SYMLINK_NOFOLLOW));
    if (!S_ISDIR(status.st_mode) || !is_above_kept(keep, child_path)) {
      CFS_TRY(remove_tree(upper_fd, name));
      continue;
    }
    UniqueFd child = CFS_TRY(open_at(upper_fd, name, kDirectoryFlags));
    UniqueFd model;
    if (image_fd >= 0) model = CFS_TRY(open_if_directory(image_fd, name));
    CFS_TRY(prune(child.get(), model.get(), keep, child_path));
  }
  return image_fd >= 0 ? set_attributes_of(image_fd, upper_fd) : Result<>();
}

bool is_machine_id(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  return text.size() == 2 * kIdBytes && std::all_of(text.begin(), text.end(), is_digit) &&
         text.find_first_not_of('0') != std::string_view::npos;
}

// A UUID of version 4, as systemd makes them.
Result<std::string> new_machine_id() {
  std::array<std::byte, kIdBytes> id{};
  for (;;) {
    ssize_t count = ::getrandom(id.data(), id.size(), 0);
    if (count == static_cast<ssize_t>(id.size())) break;
    if (count >= 0 || errno == EINTR) continue;
    return errno_error("cannot get random bytes");
  }
  id[6] = (id[6] & std::byte{0x0f}) | std::byte{0x40};
  id[8] = (id[8] & std::byte{0x3f}) | std::byte{0x80};
  return to_hex(id) + "\n";
}

}  // namespace

Result<> carry_kept(EtcDirectory from, EtcDirectory to, int image_fd, const KeepList& keep) {
  for (const std::string& kept : keep) {
    CFS_TRY_WITH("while keeping '" + kept + "'", carry(from, to, image_fd, place_of(kept)));
  }
  return {};
}

Result<> remove_all_but_kept(int upper_fd, int image_fd, const KeepList& keep) {
  return prune(upper_fd, image_fd, keep, "/etc");
}

Result<bool> ensure_machine_id(int etc_fd, int image_fd) {
  Result<struct stat> own = stat_at(image_fd, kMachineId, AT_SYMLINK_NOFOLLOW);
  if (own && S_ISLNK(own->st_mode)) return false;
  Result<UniqueFd> file = open_regular_at(etc_fd, kMachineId, O_NOFOLLOW);
  if (file) {
    Result<std::string> text = read_fd(file->get(), 2 * kIdBytes + 1);
    if (text && is_machine_id(*text)) return false;
  }
  std::string id = CFS_TRY(new_machine_id());
  CFS_TRY(remove_tree(etc_fd, kMachineId));
  CFS_TRY(write_file_atomically(etc_fd, kMachineId, as_bytes(id), 0444));
  return true;
}

}  // namespace cfs::initramfs
