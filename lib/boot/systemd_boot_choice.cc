// SPDX-License-Identifier: Apache-2.0
#include "lib/boot/systemd_boot_choice.h"

#include <fnmatch.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace cfs::boot {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

std::string lower(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return text;
}

int sign(std::strong_ordering order) { return order < 0 ? -1 : order > 0 ? 1 : 0; }

/// The characters at the front of `text` that are of one kind; they are taken off.
std::string_view take_while(std::string_view& text, bool (*is_kind)(char)) {
  size_t count = 0;
  while (count < text.size() && is_kind(text[count])) ++count;
  std::string_view front = text.substr(0, count);
  text.remove_prefix(count);
  return front;
}

/// Numbers of any size. An empty one is older than any other.
int compare_numbers(std::string_view a, std::string_view b) {
  if (a.empty() != b.empty()) return a.empty() ? -1 : 1;
  a.remove_prefix(std::min(a.size(), a.find_first_not_of('0')));
  b.remove_prefix(std::min(b.size(), b.find_first_not_of('0')));
  if (a.size() != b.size()) return a.size() < b.size() ? -1 : 1;
  return sign(a <=> b);
}

/// The value of `key` in an os-release file; empty when it has none. The last line counts.
std::string os_release_value(std::string_view text, std::string_view key) {
  std::string value;
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    if (line.size() <= key.size() || !line.starts_with(key) || line[key.size()] != '=') continue;
    std::string_view rest = line.substr(key.size() + 1);
    bool is_quoted = rest.size() >= 2 && (rest.front() == '"' || rest.front() == '\'') &&
                     rest.back() == rest.front();
    value = is_quoted ? rest.substr(1, rest.size() - 2) : rest;
  }
  return value;
}

std::string first_of(std::string_view os_release, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    std::string value = os_release_value(os_release, key);
    if (!value.empty()) return value;
  }
  return "";
}

/// True if systemd-boot lists `a` before `b`.
bool comes_before(const LoaderFile& a, const LoaderFile& b) {
  auto is_used_up = [](const LoaderFile& file) { return file.tries && file.tries->left == 0; };
  if (is_used_up(a) != is_used_up(b)) return is_used_up(b);
  if (a.sort_key.empty() != b.sort_key.empty()) return b.sort_key.empty();
  if (!a.sort_key.empty()) {
    if (a.sort_key != b.sort_key) return a.sort_key < b.sort_key;
    if (int order = compare_versions(a.version, b.version)) return order > 0;
  }
  if (int order = compare_versions(lower(a.name), lower(b.name))) return order > 0;
  if (!a.tries || !b.tries) return false;
  if (a.tries->left != b.tries->left) return a.tries->left > b.tries->left;
  return a.tries->done < b.tries->done;
}

}  // namespace

void read_sorting_fields(std::string_view os_release, LoaderFile& file) {
  file.sort_key = first_of(os_release, {"IMAGE_ID", "ID"});
  file.version = first_of(os_release, {"IMAGE_VERSION", "VERSION", "VERSION_ID", "BUILD_ID"});
}

std::optional<ChosenFile> choose_file(std::span<const LoaderFile> files,
                                      const LoaderChoice& choice) {
  std::vector<size_t> order(files.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return comes_before(files[a], files[b]); });
  const std::pair<const std::string&, NextBoot::Reason> wishes[] = {
      {choice.one_shot, NextBoot::Reason::kOneShot},
      {choice.firmware_default, NextBoot::Reason::kFirmwareDefault},
      {choice.configured, NextBoot::Reason::kChosen}};
  for (const auto& [pattern, reason] : wishes) {
    if (pattern.empty()) continue;
    for (size_t index : order) {
      if (::fnmatch(lower(pattern).c_str(), lower(files[index].name).c_str(), 0) == 0) {
        return ChosenFile{.index = index, .reason = reason};
      }
    }
  }
  if (order.empty()) return std::nullopt;
  return ChosenFile{.index = order.front(), .reason = NextBoot::Reason::kFirst};
}

std::optional<NextBoot> choose_entry(const std::vector<ListedFile>& files,
                                     const LoaderChoice& choice) {
  std::vector<LoaderFile> seen;
  for (const ListedFile& file : files) seen.push_back(file.seen);
  const std::optional<ChosenFile> chosen = choose_file(seen, choice);
  if (!chosen) return std::nullopt;
  return NextBoot{.id = files[chosen->index].id, .reason = chosen->reason};
}

std::optional<std::string> first_with(std::vector<ListedFile> files, const AssumedTries& tries) {
  for (ListedFile& file : files) {
    for (const auto& [id, assumed] : tries) {
      if (same_entry(id, file.id)) file.seen.tries = assumed;
    }
  }
  const std::optional<NextBoot> first = choose_entry(files, {});
  return first ? std::optional(first->id) : std::nullopt;
}

std::string first_unseen(const std::vector<ListedFile>& files, const EntryWishes& wishes) {
  for (const std::string& wish : {wishes.one_shot, wishes.default_pattern}) {
    if (wish.empty()) continue;
    const std::optional<NextBoot> met =
        choose_entry(files, {.one_shot = wish, .firmware_default = {}, .configured = {}});
    if (!met || met->reason != NextBoot::Reason::kOneShot) return wish;
  }
  return "";
}

int compare_versions(std::string_view a, std::string_view b) {
  auto is_separator = [](char c) {
    return !is_digit(c) && !is_letter(c) && c != '~' && c != '-' && c != '^' && c != '.';
  };
  for (;;) {
    (void)take_while(a, is_separator);
    (void)take_while(b, is_separator);
    auto both_begin_with = [&](char c, bool is_older) -> std::optional<int> {
      bool in_a = a.starts_with(c);
      bool in_b = b.starts_with(c);
      if (in_a != in_b) return in_a == is_older ? -1 : 1;
      if (in_a) {
        a.remove_prefix(1);
        b.remove_prefix(1);
      }
      return std::nullopt;
    };
    constexpr bool kIsOlder = true;
    if (std::optional<int> order = both_begin_with('~', kIsOlder)) return *order;
    if (a.empty() || b.empty()) return a.empty() && b.empty() ? 0 : a.empty() ? -1 : 1;
    for (char c : {'-', '^', '.'}) {
      if (std::optional<int> order = both_begin_with(c, kIsOlder)) return *order;
    }
    bool has_number = (!a.empty() && is_digit(a.front())) || (!b.empty() && is_digit(b.front()));
    int order = has_number ? compare_numbers(take_while(a, is_digit), take_while(b, is_digit))
                           : sign(take_while(a, is_letter) <=> take_while(b, is_letter));
    if (order != 0) return order;
  }
}

}  // namespace cfs::boot
