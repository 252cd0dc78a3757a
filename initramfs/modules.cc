// SPDX-License-Identifier: Apache-2.0
#include "initramfs/modules.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "initramfs/failure.h"
#include "initramfs/uevent.h"
#include "lib/base/io.h"

namespace cfs::initramfs {
namespace {

constexpr size_t kMaxIndexBytes = 1 << 20;
constexpr size_t kMaxModaliasBytes = 64 << 10;  // a processor's lists all of its features
constexpr std::string_view kProcessorBus = "cpu";
constexpr int kCompressedFile = 4;  // MODULE_INIT_COMPRESSED_FILE, Linux 5.17

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  while (!line.empty()) {
    size_t end = std::min(line.find(' '), line.size());
    if (end > 0) words.push_back(line.substr(0, end));
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  return words;
}

/// Does `c` belong to the set behind the '[' at `pattern[0]`? `size`: how long the set is, brackets
/// included; 0 when it has no end.
bool in_set(std::string_view pattern, char c, size_t& size) {
  size_t end = pattern.find(']', 2);  // a ']' in the first place belongs to the set
  size = end == std::string_view::npos ? 0 : end + 1;
  if (size == 0) return false;
  std::string_view set = pattern.substr(1, end - 1);
  bool negated = set.front() == '!' || set.front() == '^';
  if (negated) set.remove_prefix(1);
  bool found = false;
  for (size_t i = 0; i < set.size(); ++i) {
    if (i + 2 < set.size() && set[i + 1] == '-') {
      found = found || (set[i] <= c && c <= set[i + 2]);
      i += 2;
    } else {
      found = found || set[i] == c;
    }
  }
  return found != negated;
}

}  // namespace

bool matches_alias(std::string_view pattern, std::string_view text) {
  // Where to go on when a later character does not fit: one more character for the last star.
  size_t star = std::string_view::npos;
  size_t star_text = 0;
  size_t p = 0;
  size_t t = 0;
  for (;;) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = ++p;
      star_text = t;
      continue;
    }
    if (t == text.size() && p == pattern.size()) return true;
    if (t < text.size() && p < pattern.size()) {
      size_t size = 1;
      bool fits = pattern[p] == '[' ? in_set(pattern.substr(p), text[t], size)
                                    : pattern[p] == '?' || pattern[p] == text[t];
      if (fits) {
        p += size;
        ++t;
        continue;
      }
    }
    if (star == std::string_view::npos || star_text >= text.size()) return false;
    p = star;
    t = ++star_text;
  }
}

std::vector<std::string_view> ModuleIndex::modules_for(std::string_view alias) const {
  std::vector<std::string_view> modules;
  for (std::string_view bus : {alias.substr(0, alias.find(':')), std::string_view()}) {
    auto bucket = aliases.find(bus);
    if (bucket == aliases.end()) continue;
    for (const auto& [pattern, module] : bucket->second) {
      if (matches_alias(pattern, alias) &&
          std::find(modules.begin(), modules.end(), module) == modules.end()) {
        modules.push_back(module);
      }
    }
  }
  return modules;
}

bool ModuleIndex::asks_on_bus(std::string_view bus) const {
  // A device of the platform has the alias of whoever described it ("acpi:", "of:").
  if (bus == "platform" || aliases.contains(bus)) return true;
  auto others = aliases.find("");
  return others != aliases.end() &&
         std::any_of(others->second.begin(), others->second.end(),
                     [&](const auto& alias) { return alias.first.starts_with(bus); });
}

ModuleIndex parse_module_index(std::string_view text) {
  ModuleIndex index;
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    std::vector<std::string_view> words = words_of(line);
    if (words.size() < 2) continue;
    if (words[0] == "always") {
      index.always.assign(words.begin() + 1, words.end());
    } else if (words[0] == "module") {
      index.orders[words[1]].assign(words.begin() + 2, words.end());
    } else if (words[0] == "late") {
      index.late.insert(words.begin() + 1, words.end());
    } else if (words[0] == "alias" && words.size() == 3) {
      std::string_view bus = words[1].substr(0, words[1].find(':'));
      bool is_bus = bus.size() < words[1].size() && bus.find_first_of("*?[") == bus.npos;
      index.aliases[is_bus ? bus : ""].emplace_back(words[1], words[2]);
    }
  }
  return index;
}

Result<ModuleLoader> ModuleLoader::open(std::string directory, std::string sys) {
  std::string text = CFS_TRY(read_file(AT_FDCWD, directory + "/index", kMaxIndexBytes));
  return ModuleLoader(std::move(directory), std::move(sys),
                      std::make_unique<const std::string>(std::move(text)));
}

void ModuleLoader::load_always() {
  for (std::string_view file : index_.always) (void)load_file(file);
}

bool ModuleLoader::load_for(const std::string& alias, Drivers drivers) {
  auto [answered, is_new] = answered_.try_emplace(alias, drivers);
  if (!is_new && (answered->second == Drivers::kAll || drivers == Drivers::kQuick)) return false;
  answered->second = drivers;
  bool loaded = false;
  for (std::string_view module : index_.modules_for(alias)) {
    auto order = index_.orders.find(module);
    if (order == index_.orders.end()) continue;
    if (drivers == Drivers::kQuick && index_.late.contains(module)) continue;
    for (std::string_view file : order->second) loaded = load_file(file) || loaded;
  }
  return loaded;
}

void ModuleLoader::load_for_processor() {
  Result<std::string> alias =
      read_file(AT_FDCWD, sys_ + "/devices/system/cpu/modalias", kMaxModaliasBytes);
  if (alias) (void)load_for(alias->substr(0, alias->find('\n')));
}

bool ModuleLoader::load_for_devices(Drivers drivers) {
  Result<std::vector<std::string>> buses = list_directory(AT_FDCWD, sys_ + "/bus");
  if (!buses) return false;
  bool loaded = false;
  for (const std::string& bus : *buses) {
    if (bus == kProcessorBus || !index_.asks_on_bus(bus)) continue;
    std::string devices = sys_ + "/bus/" + bus + "/devices";
    Result<std::vector<std::string>> names = list_directory(AT_FDCWD, devices);
    if (!names) continue;  // a bus without devices
    for (const std::string& name : *names) {
      // Not every bus has a file `modalias` (mmc), but all have this.
      Result<std::string> uevent =
          read_file(AT_FDCWD, devices + "/" + name + "/uevent", kMaxModaliasBytes);
      if (!uevent) continue;  // just unplugged
      std::string alias = uevent_value(*uevent, "MODALIAS");
      if (!alias.empty()) loaded = load_for(alias, drivers) || loaded;
    }
  }
  return loaded;
}

bool ModuleLoader::load_file(std::string_view name) {
  if (!loaded_.insert(name).second) return false;
  std::string path = directory_ + "/" + std::string(name);
  Result<UniqueFd> fd = open_at(AT_FDCWD, path, O_RDONLY);
  if (!fd) {
    log_warning(fd.error().describe());
    return false;
  }
  int flags = name.ends_with(".ko") ? 0 : kCompressedFile;
  if (::syscall(SYS_finit_module, fd->get(), "", flags) == 0) return true;
  // There already, or a driver of something that this machine does not have.
  if (errno != EEXIST && errno != ENODEV) {
    log_warning(errno_error("cannot load module '" + path + "'").describe());
  }
  return false;
}

}  // namespace cfs::initramfs
