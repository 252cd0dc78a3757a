// SPDX-License-Identifier: Apache-2.0
#include "lib/boot/systemd_boot.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <map>

#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/boot/boot_counter.h"
#include "lib/boot/efi_variables.h"
#include "lib/boot/fat_publish.h"
#include "lib/boot/systemd_boot_choice.h"
#include "lib/boot/uki.h"
#include "lib/kernel_cmdline/command_line.h"

namespace cfs::boot {
namespace {

constexpr size_t kLoaderConfBytes = 512;  // one sector: see loader_conf()
constexpr size_t kMaxLoaderConfBytes = 64 * 1024;
constexpr std::string_view kSuffix = ".efi";
/// Behind the id in loader.conf: sd-boot compares file names, counters included. ".efi", or "+" and
/// a number that is not 0.
constexpr std::string_view kHasTries = "[+.][1-9e]*";
/// What devices of before there were counters have in its place.
constexpr std::string_view kAnyCounter = "[+.]*";
constexpr const char* kLoaderDirectory = "loader";
constexpr size_t kCopyBytes = 1U << 20;
constexpr uint64_t kSpaceMarginBytes = 256 * 1024;  // directory clusters, the temporary loader.conf

bool has_suffix(std::string_view name) {
  return name.size() > kSuffix.size() &&
         same_entry(name.substr(name.size() - kSuffix.size()), kSuffix);
}

/// The entry whose file has this name in EFI/Linux. None: not a name of an entry.
std::optional<CountedName> parse_file_name(std::string_view name) {
  if (!has_suffix(name)) return std::nullopt;
  CountedName parsed = split_counter(name.substr(0, name.size() - kSuffix.size()));
  if (!check_entry_id(parsed.id)) return std::nullopt;
  return parsed;
}

std::string path_in_uki_directory(std::string_view name) {
  return std::string(kUkiDirectory) + "/" + std::string(name);
}

std::string file_path(std::string_view id, const std::optional<Tries>& tries) {
  return path_in_uki_directory(with_counter(id, tries) + std::string(kSuffix));
}

bool is_parked(std::string_view path) {
  path.remove_suffix(kSuffix.size());
  const std::optional<Tries> tries = split_counter(path).tries;
  return tries && tries->left == kParked;
}

/// The image that the UKI in `fd` pins. Errors: not a UKI of cfs, or not whole.
Result<verity::Digest> pinned_image(int fd) {
  return kernel_cmdline::pinned_digest(CFS_TRY(read_uki(fd)).cmdline);
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

/// What the last `default` line says: that one counts for sd-boot.
std::string_view default_pattern(std::string_view loader_conf) {
  std::string_view pattern;
  while (!loader_conf.empty()) {
    std::string_view line = loader_conf.substr(0, loader_conf.find('\n'));
    loader_conf.remove_prefix(std::min(loader_conf.size(), line.size() + 1));
    auto next_word = [&line] {
      constexpr std::string_view kBlank = " \t\r";
      line.remove_prefix(std::min(line.size(), line.find_first_not_of(kBlank)));
      std::string_view word = line.substr(0, line.find_first_of(kBlank));
      line.remove_prefix(word.size());
      return word;
    };
    if (next_word() != "default") continue;
    std::string_view word = next_word();
    if (!word.empty()) pattern = word;
  }
  return pattern;
}

}  // namespace

Result<std::string> loader_conf(std::string_view id) {
  CFS_TRY(check_entry_id(id));
  std::string text =
      "default " + std::string(id) + std::string(kHasTries) + "\ntimeout 0\neditor no\n";
  text.append(kLoaderConfBytes - 1 - text.size(), '#');
  text.push_back('\n');
  return text;
}

Result<SystemdBoot> SystemdBoot::open(int dir_fd, const std::string& path,
                                      std::string efi_variables) {
  UniqueFd root = CFS_TRY(open_at(dir_fd, path, O_RDONLY | O_DIRECTORY));
  CFS_TRY(make_directories(root.get(), kUkiDirectory));
  CFS_TRY(make_directories(root.get(), kLoaderDirectory));
  return SystemdBoot(std::move(root), std::move(efi_variables));
}

Result<std::vector<BootEntry>> SystemdBoot::list() const {
  auto less = [](const std::string& a, const std::string& b) {
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
      return std::tolower(x) < std::tolower(y);
    });
  };
  std::map<std::string, BootEntry, decltype(less)> entries(less);
  for (const std::string& name : CFS_TRY(list_directory(root_.get(), kUkiDirectory))) {
    std::optional<CountedName> parsed = parse_file_name(name);
    if (!parsed) continue;
    Result<UniqueFd> file = open_regular_beneath(root_.get(), path_in_uki_directory(name));
    if (!file && file.error().code == ErrorCode::kInvalidInput) continue;  // no file: not an entry
    if (!file) return Error(std::move(file).error());
    BootEntry found{.id = std::string(parsed->id),
                    .digest = {},
                    .problem = {},
                    .size_bytes = static_cast<uint64_t>(CFS_TRY(fstat_fd(file->get())).st_size),
                    .tries = parsed->tries};
    Result<verity::Digest> pinned = pinned_image(file->get());
    CFS_TRY(check_interrupted());
    if (pinned) found.digest = *pinned;
    if (!pinned) found.problem = pinned.error().describe();
    auto [known, is_new] = entries.try_emplace(found.id, found);
    // Two files of one entry: see files_of().
    bool is_better = found.digest.has_value() != known->second.digest.has_value()
                         ? found.digest.has_value()
                         : !found.tries.has_value();
    if (!is_new && is_better) known->second = std::move(found);
  }
  std::vector<BootEntry> list;
  for (auto& [id, entry] : entries) list.push_back(std::move(entry));
  return list;
}

Result<std::vector<std::string>> SystemdBoot::files_of(std::string_view id) const {
  struct File {
    std::string path;
    bool is_whole;
    bool has_counter;
  };
  std::vector<File> files;
  for (const std::string& name : CFS_TRY(list_directory(root_.get(), kUkiDirectory))) {
    std::optional<CountedName> parsed = parse_file_name(name);
    if (!parsed || !same_entry(parsed->id, id)) continue;
    std::string path = path_in_uki_directory(name);
    Result<UniqueFd> file = open_regular_beneath(root_.get(), path);
    if (!file && file.error().code == ErrorCode::kInvalidInput) continue;
    if (!file) return Error(std::move(file).error());
    bool is_whole = read_uki(file->get()).has_value();
    CFS_TRY(check_interrupted());
    files.push_back({std::move(path), is_whole, parsed->tries.has_value()});
  }
  std::stable_sort(files.begin(), files.end(), [](const File& a, const File& b) {
    return std::pair(!a.is_whole, a.has_counter) < std::pair(!b.is_whole, b.has_counter);
  });
  std::vector<std::string> paths;
  for (File& file : files) paths.push_back(std::move(file.path));
  return paths;
}

Result<uint64_t> SystemdBoot::free_bytes() const {
  struct statvfs space = {};
  if (::fstatvfs(root_.get(), &space) != 0) return errno_error("cannot look at the ESP");
  uint64_t free_bytes = uint64_t{space.f_bavail} * space.f_frsize;
  return free_bytes - std::min(free_bytes, kSpaceMarginBytes);
}

Result<> SystemdBoot::install(const std::string& id, int uki_fd,
                              std::optional<unsigned> tries_left) {
  CFS_TRY(check_entry_id(id));
  CFS_TRY_WITH("while installing '" + id + "'", read_uki(uki_fd));
  struct stat status = CFS_TRY(fstat_fd(uki_fd));
  auto size_bytes = static_cast<uint64_t>(status.st_size);
  std::vector<std::string> old = CFS_TRY(files_of(id));
  for (const std::string& path : old) {
    UniqueFd file = CFS_TRY(open_regular_beneath(root_.get(), path));
    if (CFS_TRY(fstat_fd(file.get())).st_size == status.st_size &&
        CFS_TRY(same_content(file.get(), uki_fd, size_bytes))) {
      return fat_sync(root_.get(), file.get());
    }
  }
  std::optional<std::string> known = CFS_TRY(chosen());
  if (!old.empty() && known && same_entry(*known, id)) {
    UniqueFd file = CFS_TRY(open_regular_beneath(root_.get(), old.front()));
    Result<verity::Digest> pinned = pinned_image(file.get());
    if (pinned && *pinned != CFS_TRY(pinned_image(uki_fd))) {
      return make_error(ErrorCode::kExists,
                        "boot entry '" + id + "' is chosen to boot and boots another image");
    }
  }

  CFS_TRY(remove_leftovers());
  if (CFS_TRY(free_bytes()) < size_bytes) {
    return make_error(ErrorCode::kNoSpace, "no room on the ESP for '" + id + "', " +
                                               std::to_string(size_bytes) + " bytes")
        .with_hint("remove old boot entries");
  }
  std::optional<Tries> tries;
  if (tries_left) tries = Tries{.left = *tries_left, .done = 0};
  const std::string path = file_path(id, tries);
  CFS_TRY_WITH("while installing '" + id + "'", fat_publish(root_.get(), path, [&](int file) {
                 return copy_content(uki_fd, file, size_bytes);
               }));
  for (const std::string& other : old) {
    if (!same_entry(other, path)) CFS_TRY(remove_file(root_.get(), other));
  }
  return {};
}

Result<bool> SystemdBoot::holds(const std::string& id, int uki_fd) const {
  struct stat status = CFS_TRY(fstat_fd(uki_fd));
  for (const std::string& path : CFS_TRY(files_of(id))) {
    UniqueFd file = CFS_TRY(open_regular_beneath(root_.get(), path));
    if (CFS_TRY(fstat_fd(file.get())).st_size == status.st_size &&
        CFS_TRY(same_content(file.get(), uki_fd, static_cast<uint64_t>(status.st_size)))) {
      return true;
    }
  }
  return false;
}

Result<> SystemdBoot::remove_leftovers() {
  CFS_TRY(fat_remove_leftovers(root_.get(), kUkiDirectory));
  return fat_remove_leftovers(root_.get(), kLoaderDirectory);
}

Result<std::string> SystemdBoot::configured_pattern() const {
  Result<UniqueFd> file = open_regular_beneath(root_.get(), kLoaderConfPath);
  if (!file) {
    bool is_not_ours =
        file.error().code == ErrorCode::kNotFound || file.error().code == ErrorCode::kInvalidInput;
    if (is_not_ours) return std::string();
    return Error(std::move(file).error());
  }
  // One of such a size is not ours either; set_next() replaces it.
  if (CFS_TRY(fstat_fd(file->get())).st_size > off_t{kMaxLoaderConfBytes}) return std::string();
  std::string text = CFS_TRY(read_fd(file->get(), kMaxLoaderConfBytes));
  return std::string(default_pattern(text));
}

Result<std::optional<std::string>> SystemdBoot::chosen() const {
  std::string pattern = CFS_TRY(configured_pattern());
  std::string_view id;
  for (std::string_view ending : {kHasTries, kAnyCounter}) {
    if (id.empty() && std::string_view(pattern).ends_with(ending)) {
      id = std::string_view(pattern).substr(0, pattern.size() - ending.size());
    }
  }
  if (id.empty()) {
    // The file's own name: older devices still.
    if (std::optional<CountedName> named = parse_file_name(pattern)) id = named->id;
  }
  std::optional<std::string> none;
  if (!check_entry_id(id)) return none;
  return std::optional(std::string(id));
}

Result<std::optional<NextBoot>> SystemdBoot::next() const {
  std::vector<LoaderFile> files;
  for (std::string& name : CFS_TRY(list_directory(root_.get(), kUkiDirectory))) {
    if (!has_suffix(name)) continue;
    Result<UniqueFd> file = open_regular_beneath(root_.get(), path_in_uki_directory(name));
    if (!file && file.error().code == ErrorCode::kInvalidInput) continue;
    if (!file) return Error(std::move(file).error());
    Result<UkiInfo> uki = read_uki(file->get());
    CFS_TRY(check_interrupted());
    if (!uki) continue;  // nor does sd-boot list what it cannot read
    LoaderFile seen{.name = std::move(name), .sort_key = {}, .version = {}, .tries = {}};
    read_sorting_fields(uki->os_release, seen);
    seen.tries = split_counter(seen.name.substr(0, seen.name.size() - kSuffix.size())).tries;
    files.push_back(std::move(seen));
  }
  EntryWishes wishes = CFS_TRY(entry_wishes(efi_variables_));
  std::optional<ChosenFile> choice =
      choose_file(files, {.one_shot = std::move(wishes.one_shot),
                          .firmware_default = std::move(wishes.default_pattern),
                          .configured = CFS_TRY(configured_pattern())});
  std::optional<NextBoot> next;
  if (!choice) return next;
  const std::string& name = files[choice->index].name;
  next = NextBoot{.id = std::string(split_counter(name.substr(0, name.size() - kSuffix.size())).id),
                  .reason = choice->reason};
  return next;
}

Result<> SystemdBoot::set_next(const std::string& id) {
  std::string text = CFS_TRY(loader_conf(id));
  std::vector<std::string> files = CFS_TRY(files_of(id));
  if (files.empty()) {
    return make_error(ErrorCode::kNotFound, "there is no boot entry '" + id + "'");
  }
  {
    UniqueFd uki = CFS_TRY(open_regular_beneath(root_.get(), files.front()));
    CFS_TRY_WITH("while choosing '" + id + "' to boot next", read_uki(uki.get()));
  }
  Result<UniqueFd> existing = open_beneath(root_.get(), kLoaderConfPath, O_RDWR);
  if (existing) {
    struct stat status = CFS_TRY(fstat_fd(existing->get()));
    if (status.st_size == static_cast<off_t>(kLoaderConfBytes)) {
      // One sector, no change to directory or FAT: the old or the new one after a power cut. A
      // rename on FAT writes several sectors and can leave two names for one chain of clusters.
      CFS_TRY(pwrite_full(existing->get(), as_bytes(text), 0));
      CFS_TRY(fsync_fd(existing->get()));
      return withdraw_entry_wishes(efi_variables_);
    }
  } else if (existing.error().code != ErrorCode::kNotFound) {
    return Error(std::move(existing).error());
  }
  CFS_TRY(remove_leftovers());
  CFS_TRY(fat_publish(root_.get(), kLoaderConfPath,
                      [&](int file) { return write_full(file, as_bytes(text)); }));
  return withdraw_entry_wishes(efi_variables_);
}

Result<std::optional<std::string>> SystemdBoot::selected() const {
  return selected_entry(efi_variables_);
}

Result<> SystemdBoot::set_tries(const std::string& id, std::optional<unsigned> tries_left) {
  CFS_TRY(check_entry_id(id));
  std::vector<std::string> files = CFS_TRY(files_of(id));
  if (files.empty()) {
    return make_error(ErrorCode::kNotFound, "there is no boot entry '" + id + "'");
  }
  std::optional<Tries> tries;
  if (tries_left) tries = Tries{.left = *tries_left, .done = 0};
  const std::string path = file_path(id, tries);
  const std::string doing = "while counting the boots of '" + id + "'";
  if (!same_entry(files.front(), path)) {
    if (!tries && is_parked(files.front())) {
      CFS_TRY_WITH(doing, copy_or_rename(files.front(), path));
    } else {
      CFS_TRY_WITH(doing, fat_rename(root_.get(), files.front(), path));
    }
  }
  for (const std::string& other : files) {
    if (!same_entry(other, path)) CFS_TRY(remove_file(root_.get(), other));
  }
  return {};
}

/// Leaves the file `from` where it is until the new one is durable, if there is room for both.
Result<> SystemdBoot::copy_or_rename(const std::string& from, const std::string& to) {
  CFS_TRY(remove_leftovers());
  UniqueFd file = CFS_TRY(open_regular_beneath(root_.get(), from));
  const auto size_bytes = static_cast<uint64_t>(CFS_TRY(fstat_fd(file.get())).st_size);
  if (CFS_TRY(free_bytes()) < size_bytes) return fat_rename(root_.get(), from, to);
  return fat_publish(root_.get(), to,
                     [&](int copy) { return copy_content(file.get(), copy, size_bytes); });
}

Result<> SystemdBoot::remove(const std::string& id) {
  CFS_TRY(check_entry_id(id));
  std::optional<std::string> known = CFS_TRY(chosen());
  if (known && same_entry(*known, id)) {
    return make_error(ErrorCode::kBusy, "boot entry '" + id + "' is chosen to boot")
        .with_hint("choose another entry first");
  }
  for (const std::string& path : CFS_TRY(files_of(id))) {
    CFS_TRY(remove_file(root_.get(), path));
  }
  return fsync_directory(root_.get(), kUkiDirectory);
}

}  // namespace cfs::boot
