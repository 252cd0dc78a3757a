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
constexpr size_t kCopyBytes = 128 << 10;
constexpr int kMaxReadings = 10;
constexpr uint64_t kSpaceMarginBytes = 256 * 1024;  // directory clusters, the temporary loader.conf

/// The entry whose file has this name in EFI/Linux; its id is not checked. None: the name ends
/// otherwise.
std::optional<CountedName> parse_file_name(std::string_view name) {
  if (name.size() <= kSuffix.size()) return std::nullopt;
  const size_t stem_bytes = name.size() - kSuffix.size();
  if (!same_entry(name.substr(stem_bytes), kSuffix)) return std::nullopt;
  return split_counter(name.substr(0, stem_bytes));
}

std::string path_in_uki_directory(std::string_view name) {
  return std::string(kUkiDirectory) + "/" + std::string(name);
}

std::string file_path(std::string_view id, const std::optional<Tries>& tries) {
  return path_in_uki_directory(with_counter(id, tries) + std::string(kSuffix));
}

/// The image that the UKI in `fd` pins. Errors: not a UKI of cfs, or not whole.
Result<verity::Digest> pinned_image(int fd) {
  return kernel_cmdline::pinned_digest(CFS_TRY(read_uki(fd)).cmdline);
}

/// Returns true if the file `file`, which may be unreadable, has the content of `wanted`.
Result<bool> has_content(int file, int wanted) {
  const auto size_bytes = static_cast<uint64_t>(CFS_TRY(fstat_fd(wanted)).st_size);
  if (static_cast<uint64_t>(CFS_TRY(fstat_fd(file)).st_size) != size_bytes) return false;
  std::vector<std::byte> left(kCopyBytes);
  std::vector<std::byte> right(kCopyBytes);
  for (uint64_t offset = 0; offset < size_bytes; offset += kCopyBytes) {
    Result<size_t> count = pread_full(file, left, offset);
    if (!count && is_lost_by_disk(count.error())) return false;
    const size_t from_file = CFS_TRY(std::move(count));
    const size_t from_wanted = CFS_TRY(pread_full(wanted, right, offset));
    if (from_file != from_wanted ||
        !std::equal(left.begin(), left.begin() + static_cast<ptrdiff_t>(from_file),
                    right.begin())) {
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
  for (const File& file : CFS_TRY(open_files())) {
    if (!check_entry_id(file.id)) continue;
    BootEntry found{.id = file.id,
                    .digest = {},
                    .problem = {},
                    .size_bytes = static_cast<uint64_t>(CFS_TRY(fstat_fd(file.fd.get())).st_size),
                    .tries = file.tries};
    Result<verity::Digest> pinned = pinned_image(file.fd.get());
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

Result<std::vector<SystemdBoot::File>> SystemdBoot::open_files() const {
  auto read = [&]() -> Result<std::vector<File>> {
    std::vector<File> files;
    for (const std::string& name : CFS_TRY(list_directory(root_.get(), kUkiDirectory))) {
      std::optional<CountedName> parsed = parse_file_name(name);
      if (!parsed) continue;
      std::string path = path_in_uki_directory(name);
      Result<UniqueFd> fd = open_regular_beneath(root_.get(), path);
      if (!fd && fd.error().code == ErrorCode::kInvalidInput) continue;  // no file: not an entry
      if (!fd) return Error(std::move(fd).error());
      files.push_back({.name = name,
                       .path = std::move(path),
                       .id = std::string(parsed->id),
                       .tries = parsed->tries,
                       .fd = std::move(*fd)});
    }
    return files;
  };
  for (int reading = 1;; ++reading) {
    Result<std::vector<File>> files = read();
    const bool was_renamed = !files && files.error().code == ErrorCode::kNotFound;
    if (!was_renamed || reading == kMaxReadings) return files;
  }
}

Result<std::vector<SystemdBoot::File>> SystemdBoot::files_of(std::string_view id) const {
  std::vector<File> files = CFS_TRY(open_files());
  std::erase_if(files, [&](const File& file) { return !same_entry(file.id, id); });
  std::stable_partition(files.begin(), files.end(), [](const File& file) { return !file.tries; });
  std::stable_partition(files.begin(), files.end(),
                        [](const File& file) { return read_uki(file.fd.get()).has_value(); });
  CFS_TRY(check_interrupted());
  return files;
}

Result<std::vector<SystemdBoot::File>> SystemdBoot::files_of_existing(const std::string& id) const {
  std::vector<File> files = CFS_TRY(files_of(id));
  if (!files.empty()) return files;
  return make_error(ErrorCode::kNotFound, "there is no boot entry '" + id + "'");
}

Result<> SystemdBoot::remove_others(std::vector<File> files, std::string_view kept_path) {
  for (File& file : files) {
    if (same_entry(file.path, kept_path)) continue;
    file.fd.reset();  // FAT frees the clusters of a removed file when nobody has it open
    CFS_TRY(remove_file(root_.get(), file.path));
  }
  return fsync_directory(root_.get(), kUkiDirectory);
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
  const auto size_bytes = static_cast<uint64_t>(CFS_TRY(fstat_fd(uki_fd)).st_size);
  std::vector<File> old = CFS_TRY(files_of(id));
  for (const File& file : old) {
    if (!CFS_TRY(has_content(file.fd.get(), uki_fd))) continue;
    CFS_TRY(fat_sync(root_.get(), file.fd.get()));
    const std::string kept_path = file.path;
    return remove_others(std::move(old), kept_path);
  }
  std::optional<std::string> known = CFS_TRY(chosen());
  if (!old.empty() && known && same_entry(*known, id)) {
    Result<verity::Digest> pinned = pinned_image(old.front().fd.get());
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
  return remove_others(std::move(old), path);
}

Result<bool> SystemdBoot::holds(const std::string& id, int uki_fd) const {
  for (const File& file : CFS_TRY(files_of(id))) {
    if (CFS_TRY(has_content(file.fd.get(), uki_fd))) return true;
  }
  return false;
}

// Files that pin no image are of other systems, which may count with them.
Result<> SystemdBoot::remove_doubles() {
  std::vector<std::string> doubled;
  {  // what is removed must not be open: remove_others()
    const std::vector<File> all = CFS_TRY(open_files());
    for (auto file = all.begin(); file != all.end(); ++file) {
      const bool has_double = std::any_of(
          file + 1, all.end(), [&](const File& other) { return same_entry(other.id, file->id); });
      if (has_double) doubled.push_back(file->id);
    }
  }
  for (const std::string& id : doubled) {
    std::vector<File> files = CFS_TRY(files_of(id));
    if (files.size() < 2 || !pinned_image(files.front().fd.get())) continue;
    const std::string best = files.front().path;
    std::vector<File> doubles;
    for (size_t i = 1; i < files.size(); ++i) {
      Result<bool> is_same = has_content(files[i].fd.get(), files.front().fd.get());
      if (!is_same && is_lost_by_disk(is_same.error())) continue;  // then it is of use
      if (CFS_TRY(std::move(is_same))) doubles.push_back(std::move(files[i]));
    }
    if (!doubles.empty()) CFS_TRY(remove_others(std::move(doubles), best));
  }
  return {};
}

Result<> SystemdBoot::remove_leftovers() {
  CFS_TRY(fat_remove_leftovers(root_.get(), kUkiDirectory));
  return fat_remove_leftovers(root_.get(), kLoaderDirectory);
}

Result<std::string> SystemdBoot::configured_pattern() const {
  auto read = [&]() -> Result<std::string> {
    UniqueFd file = CFS_TRY(open_regular_beneath(root_.get(), kLoaderConfPath));
    return read_fd(file.get(), kMaxLoaderConfBytes);
  };
  Result<std::string> text = read();
  if (text) return std::string(default_pattern(*text));
  // No file, too large to be ours, or damaged: it chooses nothing, and set_next() replaces it.
  const Error& error = text.error();
  if (error.code == ErrorCode::kNotFound || error.code == ErrorCode::kInvalidInput ||
      is_lost_by_disk(error)) {
    return std::string();
  }
  return Error(std::move(text).error());
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

Result<std::vector<ListedFile>> SystemdBoot::listed_files() const {
  std::vector<ListedFile> files;
  for (const File& file : CFS_TRY(open_files())) {
    Result<UkiInfo> uki = read_uki(file.fd.get());
    CFS_TRY(check_interrupted());
    if (!uki) continue;  // nor does sd-boot list what it cannot read
    files.push_back(
        {.id = file.id,
         .seen = {.name = file.name, .sort_key = {}, .version = {}, .tries = file.tries}});
    read_sorting_fields(uki->os_release, files.back().seen);
  }
  return files;
}

Result<std::optional<NextBoot>> SystemdBoot::next() const {
  EntryWishes wishes = CFS_TRY(entry_wishes(efi_variables_));
  return choose_entry(CFS_TRY(listed_files()),
                      {.one_shot = std::move(wishes.one_shot),
                       .firmware_default = std::move(wishes.default_pattern),
                       .configured = CFS_TRY(configured_pattern())});
}

Result<std::optional<std::string>> SystemdBoot::first_with(const AssumedTries& tries) const {
  return boot::first_with(CFS_TRY(listed_files()), tries);
}

Result<std::string> SystemdBoot::unseen_wish() const {
  return first_unseen(CFS_TRY(listed_files()), CFS_TRY(entry_wishes(efi_variables_)));
}

Result<> SystemdBoot::set_next(const std::string& id) {
  std::string text = CFS_TRY(loader_conf(id));
  std::vector<File> files = CFS_TRY(files_of_existing(id));
  CFS_TRY_WITH("while choosing '" + id + "' to boot next", read_uki(files.front().fd.get()));
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
  std::vector<File> files = CFS_TRY(files_of_existing(id));
  const File& best = files.front();
  std::optional<Tries> tries;
  if (tries_left) tries = Tries{.left = *tries_left, .done = 0};
  const std::string path = file_path(id, tries);
  const std::string doing = "while counting the boots of '" + id + "'";
  if (!same_entry(best.path, path)) {
    Result<> copied;
    if (!tries) copied = copy(best, path);
    CFS_TRY(check_interrupted());
    // What cannot be copied, for want of room or for a bad sector, is renamed. But a copy that is
    // whole, though not durable yet, is left alone.
    Result<UniqueFd> there = open_beneath(root_.get(), path, O_RDONLY);
    if (!copied && there && read_uki(there->get())) {
      return Error(std::move(copied).error()).with(doing);
    }
    if (tries || !copied) CFS_TRY_WITH(doing, fat_rename(root_.get(), best.path, path));
  }
  return remove_others(std::move(files), path);
}

Result<> SystemdBoot::count_boot(const std::string& id) {
  CFS_TRY(check_entry_id(id));
  std::vector<File> files = CFS_TRY(files_of_existing(id));
  const File& best = files.front();
  if (!best.tries || best.tries->left == 0) return {};
  const std::string path = file_path(id, after_a_boot(*best.tries));
  CFS_TRY_WITH("while counting a boot of '" + id + "'", fat_rename(root_.get(), best.path, path));
  return remove_others(std::move(files), path);
}

Result<> SystemdBoot::copy(const File& from, const std::string& to) {
  CFS_TRY(remove_leftovers());
  const auto size_bytes = static_cast<uint64_t>(CFS_TRY(fstat_fd(from.fd.get())).st_size);
  if (CFS_TRY(free_bytes()) < size_bytes) {
    return make_error(ErrorCode::kNoSpace, "no room on the ESP for a second '" + from.name + "'");
  }
  return fat_publish(root_.get(), to,
                     [&](int copy) { return copy_content(from.fd.get(), copy, size_bytes); });
}

Result<> SystemdBoot::remove(const std::string& id) {
  CFS_TRY(check_entry_id(id));
  std::optional<std::string> known = CFS_TRY(chosen());
  if (known && same_entry(*known, id)) {
    return make_error(ErrorCode::kBusy, "boot entry '" + id + "' is chosen to boot")
        .with_hint("choose another entry first");
  }
  return remove_others(CFS_TRY(files_of(id)), "");
}

}  // namespace cfs::boot
