// SPDX-License-Identifier: Apache-2.0
//
// How a file gets onto the ESP. The ESP is FAT: no journal, and a rename there is not one write.
// What Linux does for rename("x.efi.cfs-new", "x.efi") (fs/fat/namei_vfat.c, vfat_rename):
//
//     a  new directory slots "x.efi" with size 0 and no first cluster    (the directory's blocks)
//     b  the inode is attached to them; its size and first cluster go
//        into the slot when the *inode* is written                       (sync of the file)
//     c  the slots "x.efi.cfs-new" are marked as deleted                 (the directory's blocks)
//
// and the disk may see these in any order. Over an existing name a is left out, and b changes one
// slot within one sector: the old file or the new one.
//
// So content and cluster chain are made durable under the temporary name first (fsync). A power cut
// in or after the rename then leaves under the final name: nothing, or a file of size 0, which the
// boot loader does not take for a program, or the whole file. Never a part of one. The content may
// be lost (neither name, or size 0), or have both names; fsck.fat tidies up, and the next install()
// compares the content and does it again. None of that matters to the boot, because the name
// becomes the default only afterwards, when all of it is durable:
//
//     after the rename   syncfs: b too, which an fsync of the directory would leave out, and
//                        directories that are new; then fsync, because syncfs on FAT does not tell
//                        the disk to empty its cache.
//
// The boot loader looks at *.efi only: a temporary name, whole or not, is nothing to it.
// Temporaries that a dead process or a power cut has left are removed by the next write.
#include "lib/boot/esp.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <vector>

#include "lib/base/interrupt.h"
#include "lib/base/io.h"

namespace cfs::boot {
namespace {

constexpr size_t kLoaderConfBytes = 512;  // one sector: see loader_conf()
constexpr size_t kMaxLoaderConfBytes = 64 * 1024;
constexpr size_t kMaxNameBytes = 200;
constexpr std::string_view kSuffix = ".efi";
constexpr std::string_view kTemporarySuffix = ".cfs-new";
constexpr const char* kLoaderDirectory = "loader";
// Attributes before the value, and the vendor of the Boot Loader Interface's variables.
constexpr size_t kEfiAttributesBytes = 4;
constexpr const char* kSelectedEntry = "LoaderEntrySelected-4a67b082-0a4c-41cf-b6c7-442b29bb8c4f";
constexpr size_t kMaxEfiVariableBytes = 4096;
constexpr size_t kCopyBytes = 1U << 20;
constexpr uint64_t kSpaceMarginBytes = 256 * 1024;  // directory clusters, the temporary loader.conf

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_alphanumeric(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool has_suffix(std::string_view name) {
  return name.size() > kSuffix.size() &&
         same_entry(name.substr(name.size() - kSuffix.size()), kSuffix);
}

/// Does the name without ".efi" end in "+LEFT" or "+LEFT-DONE"?
/// Spec: systemd, "Automatic Boot Assessment".
bool has_boot_counter(std::string_view stem) {
  size_t plus = stem.find_last_of('+');
  if (plus == std::string_view::npos) return false;
  std::string_view counter = stem.substr(plus + 1);
  auto is_number = [](std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), is_digit);
  };
  size_t dash = counter.find('-');
  return is_number(counter.substr(0, dash)) &&
         (dash == std::string_view::npos || is_number(counter.substr(dash + 1)));
}

std::string uki_path(std::string_view name) {
  return std::string(kUkiDirectory) + "/" + std::string(name);
}

Result<bool> same_content(int a, int b, uint64_t size_bytes) {
  std::vector<std::byte> left(kCopyBytes);
  std::vector<std::byte> right(kCopyBytes);
  for (uint64_t offset = 0; offset < size_bytes; offset += kCopyBytes) {
    size_t from_a = CFS_TRY(pread_full(a, left, offset));
    size_t from_b = CFS_TRY(pread_full(b, right, offset));
    if (from_a != from_b ||
        !std::equal(left.begin(), left.begin() + static_cast<ptrdiff_t>(from_a), right.begin())) {
      return false;
    }
  }
  return true;
}

Result<> copy_content(int from, int to, uint64_t size_bytes) {
  std::vector<std::byte> buffer(kCopyBytes);
  for (uint64_t offset = 0; offset < size_bytes;) {
    CFS_TRY(check_interrupted());
    size_t count = CFS_TRY(pread_full(from, buffer, offset));
    if (count == 0 || offset + count > size_bytes) {
      return make_error(ErrorCode::kSourceChanged, "the UKI changed while it was read");
    }
    CFS_TRY(write_full(to, Bytes(buffer).first(count)));
    offset += count;
  }
  return {};
}

}  // namespace

Result<> check_entry_name(std::string_view name) {
  auto allowed = [](char c) {
    return is_alphanumeric(c) || c == '.' || c == '+' || c == '~' || c == '_' || c == '-';
  };
  if (name.size() <= kSuffix.size() || name.size() > kMaxNameBytes ||
      name.substr(name.size() - kSuffix.size()) != kSuffix || !is_alphanumeric(name.front()) ||
      !std::all_of(name.begin(), name.end(), allowed) ||
      has_boot_counter(name.substr(0, name.size() - kSuffix.size()))) {
    return make_error(ErrorCode::kInvalidInput,
                      "'" + std::string(name) + "' cannot be the name of a boot entry");
  }
  return {};
}

std::string entry_name(std::string_view version, std::string_view deployment_id) {
  return "cfs_" + std::string(version) + "_" + std::string(deployment_id) + std::string(kSuffix);
}

bool same_entry(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

Result<std::optional<std::string>> selected_entry(const std::string& efi_variables) {
  Result<std::string> variable =
      read_file(AT_FDCWD, efi_variables + "/" + kSelectedEntry, kMaxEfiVariableBytes);
  std::optional<std::string> entry;
  if (!variable) {
    if (variable.error().code == ErrorCode::kNotFound) return entry;
    return Error(std::move(variable).error()).with("while asking which boot entry is running");
  }
  // UTF-16LE with a NUL at the end; our names are ASCII.
  std::string_view text = *variable;
  if (text.size() < kEfiAttributesBytes || text.size() % 2 != 0) return entry;
  std::string name;
  for (text.remove_prefix(kEfiAttributesBytes); !text.empty(); text.remove_prefix(2)) {
    if (text[0] == '\0' && text[1] == '\0') break;
    if (text[1] != '\0' || static_cast<unsigned char>(text[0]) >= 0x80) return entry;
    name += text[0];
  }
  if (!name.empty()) entry = std::move(name);
  return entry;
}

Result<std::string> loader_conf(std::string_view entry) {
  CFS_TRY(check_entry_name(entry));
  std::string text = "default " + std::string(entry) + "\ntimeout 0\neditor no\n";
  text.append(kLoaderConfBytes - 1 - text.size(), '#');
  text.push_back('\n');
  return text;
}

Result<Esp> Esp::open(int dir_fd, const std::string& path) {
  UniqueFd root = CFS_TRY(open_at(dir_fd, path, O_RDONLY | O_DIRECTORY));
  CFS_TRY(make_directories(root.get(), kUkiDirectory));
  CFS_TRY(make_directories(root.get(), kLoaderDirectory));
  return Esp(std::move(root));
}

Result<std::vector<BootEntry>> Esp::list() const {
  std::vector<BootEntry> entries;
  std::vector<std::string> names = CFS_TRY(list_directory(root_.get(), kUkiDirectory));
  for (std::string& name : names) {
    if (!has_suffix(name)) continue;
    Result<UniqueFd> file = open_regular_beneath(root_.get(), uki_path(name));
    if (!file && file.error().code == ErrorCode::kInvalidInput) continue;  // no file: not an entry
    if (!file) return Error(std::move(file).error());
    struct stat status = CFS_TRY(fstat_fd(file->get()));
    BootEntry entry{.name = std::move(name), .size_bytes = static_cast<uint64_t>(status.st_size)};
    Result<UkiInfo> info = read_uki(file->get());
    CFS_TRY(check_interrupted());
    if (info) {
      Result<verity::Digest> digest = pinned_digest(info->cmdline);
      if (digest) entry.digest = *digest;
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

Result<> Esp::install(const std::string& name, int source_fd) {
  CFS_TRY(check_entry_name(name));
  CFS_TRY_WITH("while installing '" + name + "'", read_uki(source_fd));
  struct stat status = CFS_TRY(fstat_fd(source_fd));
  auto size_bytes = static_cast<uint64_t>(status.st_size);
  Result<UniqueFd> existing = open_regular_beneath(root_.get(), uki_path(name));
  if (existing) {
    struct stat existing_status = CFS_TRY(fstat_fd(existing->get()));
    if (existing_status.st_size == status.st_size &&
        CFS_TRY(same_content(existing->get(), source_fd, size_bytes))) {
      return make_durable(existing->get());
    }
    std::optional<std::string> current = CFS_TRY(default_entry());
    if (current && same_entry(*current, name)) {
      return make_error(ErrorCode::kExists,
                        "boot entry '" + name + "' is the default and has another content");
    }
  } else if (existing.error().code != ErrorCode::kNotFound) {
    return Error(std::move(existing).error());
  }

  CFS_TRY(remove_temporaries());
  struct statvfs space = {};
  if (::fstatvfs(root_.get(), &space) != 0) return errno_error("cannot look at the ESP");
  if (uint64_t{space.f_bavail} * space.f_frsize < size_bytes + kSpaceMarginBytes) {
    return make_error(ErrorCode::kNoSpace, "no room on the ESP for '" + name + "', " +
                                               std::to_string(size_bytes) + " bytes")
        .with_hint("remove old boot entries");
  }
  CFS_TRY_WITH("while installing '" + name + "'", publish(uki_path(name), [&](int file) {
                 return copy_content(source_fd, file, size_bytes);
               }));
  return {};
}

Result<> Esp::publish(const std::string& path, const std::function<Result<>(int)>& write) {
  const std::string temporary = path + std::string(kTemporarySuffix);
  auto attempt = [&]() -> Result<> {
    UniqueFd file = CFS_TRY(
        open_beneath(root_.get(), temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644));
    CFS_TRY(write(file.get()));
    CFS_TRY(fsync_fd(file.get()));
    CFS_TRY(rename_at(root_.get(), temporary, root_.get(), path));
    return make_durable(file.get());
  };
  Result<> written = attempt();
  if (!written) (void)remove_file(root_.get(), temporary);
  return written;
}

Result<> Esp::make_durable(int file_fd) {
  CFS_TRY(sync_filesystem(root_.get()));
  return fsync_fd(file_fd);
}

Result<> Esp::remove_temporaries() {
  for (const char* directory : {kUkiDirectory, kLoaderDirectory}) {
    for (const std::string& name : CFS_TRY(list_directory(root_.get(), directory))) {
      if (!name.ends_with(kTemporarySuffix)) continue;
      CFS_TRY(remove_file(root_.get(), std::string(directory) + "/" + name));
    }
  }
  return {};
}

Result<std::optional<std::string>> Esp::default_entry() const {
  Result<std::string> text = read_file(root_.get(), kLoaderConfPath, kMaxLoaderConfBytes);
  std::optional<std::string> entry;
  if (!text) {
    if (text.error().code == ErrorCode::kNotFound) return entry;
    return Error(std::move(text).error());
  }
  std::string_view rest = *text;
  while (!rest.empty()) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    auto next_word = [&line] {
      constexpr std::string_view kBlank = " \t\r";
      line.remove_prefix(std::min(line.size(), line.find_first_not_of(kBlank)));
      std::string_view word = line.substr(0, line.find_first_of(kBlank));
      line.remove_prefix(word.size());
      return word;
    };
    if (next_word() != "default") continue;
    std::string_view name = next_word();
    if (!name.empty()) entry = std::string(name);  // as in sd-boot, the last one counts
  }
  return entry;
}

Result<> Esp::set_default(const std::string& name) {
  std::string text = CFS_TRY(loader_conf(name));
  {
    UniqueFd uki = CFS_TRY(open_regular_beneath(root_.get(), uki_path(name)));
    CFS_TRY_WITH("while making '" + name + "' the default", read_uki(uki.get()));
  }
  Result<UniqueFd> existing = open_beneath(root_.get(), kLoaderConfPath, O_RDWR);
  if (existing) {
    struct stat status = CFS_TRY(fstat_fd(existing->get()));
    if (status.st_size == static_cast<off_t>(kLoaderConfBytes)) {
      // One sector, no change to directory or FAT: the old or the new one after a power cut. A
      // rename on FAT writes several sectors and can leave two names for one chain of clusters.
      CFS_TRY(pwrite_full(existing->get(), as_bytes(text), 0));
      return fsync_fd(existing->get());
    }
  } else if (existing.error().code != ErrorCode::kNotFound) {
    return Error(std::move(existing).error());
  }
  CFS_TRY(remove_temporaries());
  return publish(kLoaderConfPath, [&](int file) { return write_full(file, as_bytes(text)); });
}

Result<> Esp::remove(const std::string& name) {
  CFS_TRY(check_entry_name(name));
  std::optional<std::string> current = CFS_TRY(default_entry());
  if (current && same_entry(*current, name)) {
    return make_error(ErrorCode::kBusy, "boot entry '" + name + "' is the default")
        .with_hint("make another entry the default first");
  }
  CFS_TRY(remove_file(root_.get(), uki_path(name)));
  return fsync_directory(root_.get(), kUkiDirectory);
}

}  // namespace cfs::boot
