// SPDX-License-Identifier: Apache-2.0
// For tests only: a boot loader in memory.
#pragma once

#include <algorithm>
#include <map>
#include <string>

#include "lib/base/io.h"
#include "lib/boot/boot_counter.h"
#include "lib/boot/boot_loader.h"
#include "lib/boot/efi_variables.h"
#include "lib/boot/systemd_boot_choice.h"
#include "lib/boot/uki.h"
#include "lib/kernel_cmdline/command_line.h"

namespace cfs::boot {

class FakeBootLoader : public BootLoader {
 public:
  Result<std::vector<BootEntry>> list() const override {
    std::vector<BootEntry> entries;
    for (const auto& [key, stored] : stored_) {
      std::optional<verity::Digest> digest = pinned_image(stored.content);
      entries.push_back({.id = stored.id,
                         .digest = digest,
                         .problem = digest ? "" : "not a UKI of cfs",
                         .size_bytes = stored.content.size(),
                         .tries = stored.tries});
    }
    return entries;
  }
  Result<uint64_t> free_bytes() const override { return free_bytes_; }
  Result<> install(const std::string& id, int uki_fd, std::optional<unsigned> tries_left) override {
    CFS_TRY(check_entry_id(id));
    CFS_TRY(read_uki(uki_fd));
    struct stat status = CFS_TRY(fstat_fd(uki_fd));
    std::string content(static_cast<size_t>(status.st_size), '\0');
    CFS_TRY(pread_full(uki_fd, std::as_writable_bytes(std::span(content)), 0));
    auto old = stored_.find(key_of(id));
    if (old != stored_.end() && old->second.content == content) return {};
    if (old != stored_.end() && chosen_ && same_entry(*chosen_, id)) {
      std::optional<verity::Digest> pinned = pinned_image(old->second.content);
      if (pinned && pinned != pinned_image(content)) {
        return make_error(ErrorCode::kExists, "'" + id + "' is chosen");
      }
    }
    if (content.size() > free_bytes_) return make_error(ErrorCode::kNoSpace, "no room");
    stored_[key_of(id)] = {.id = id, .content = std::move(content), .tries = counter(tries_left)};
    return {};
  }
  Result<bool> holds(const std::string& id, int uki_fd) const override {
    auto stored = stored_.find(key_of(id));
    struct stat status = CFS_TRY(fstat_fd(uki_fd));
    std::string content(static_cast<size_t>(status.st_size), '\0');
    CFS_TRY(pread_full(uki_fd, std::as_writable_bytes(std::span(content)), 0));
    return stored != stored_.end() && stored->second.content == content;
  }
  Result<std::optional<std::string>> chosen() const override { return chosen_; }
  Result<std::optional<NextBoot>> next() const override {
    return choose_entry(listed_files(), {.one_shot = one_shot_,
                                         .firmware_default = firmware_default_,
                                         .configured = configured_pattern()});
  }
  Result<std::optional<std::string>> first_with(const AssumedTries& tries) const override {
    return boot::first_with(listed_files(), tries);
  }
  Result<std::string> unseen_wish() const override {
    return first_unseen(listed_files(),
                        {.one_shot = one_shot_, .default_pattern = firmware_default_});
  }
  Result<> set_next(const std::string& id) override {
    CFS_TRY(read_uki(as_bytes(CFS_TRY(find(id))->content)));
    chosen_ = id;
    one_shot_.clear();
    firmware_default_.clear();
    return {};
  }
  Result<std::optional<std::string>> selected() const override { return selected_; }
  Result<> set_tries(const std::string& id, std::optional<unsigned> tries_left) override {
    CFS_TRY(find(id))->tries = counter(tries_left);
    return {};
  }
  Result<> count_boot(const std::string& id) override {
    std::optional<Tries>& tries = CFS_TRY(find(id))->tries;
    if (tries && tries->left > 0) tries = after_a_boot(*tries);
    return {};
  }
  Result<> remove_doubles() override { return {}; }
  Result<> remove(const std::string& id) override {
    CFS_TRY(check_entry_id(id));
    if (chosen_ && same_entry(*chosen_, id)) return make_error(ErrorCode::kBusy, "it is chosen");
    stored_.erase(key_of(id));
    return {};
  }

  // What the machine does, and what goes wrong.

  /// Starts an entry, as the machine does when it is switched on.
  void start(const std::string& id) {
    selected_ = id;
    std::optional<Tries>& tries = stored_.at(key_of(id)).tries;
    if (tries) tries = after_a_boot(*tries);
    one_shot_.clear();
  }
  /// What somebody asks the firmware for: patterns of file names.
  void wish(EntryWishes wishes) {
    one_shot_ = std::move(wishes.one_shot);
    firmware_default_ = std::move(wishes.default_pattern);
  }
  /// Cuts an entry's content short.
  void damage(const std::string& id) { stored_.at(key_of(id)).content.resize(1000); }
  /// Takes an entry away, as a power cut while it was renamed may do.
  void lose(const std::string& id) { stored_.erase(key_of(id)); }
  /// Removes all entries and the choice, as a new ESP has none; the firmware's variables stay.
  void make_anew() {
    stored_.clear();
    chosen_.reset();
  }
  void set_free_bytes(uint64_t bytes) { free_bytes_ = bytes; }

 private:
  struct Stored {
    std::string id;
    std::string content;
    std::optional<Tries> tries;
  };

  std::vector<ListedFile> listed_files() const {
    std::vector<ListedFile> files;
    for (const auto& [key, stored] : stored_) {
      if (!read_uki(as_bytes(stored.content))) continue;
      files.push_back({.id = stored.id,
                       .seen = {.name = with_counter(stored.id, stored.tries) + ".efi",
                                .sort_key = "fake",
                                .version = "1",
                                .tries = stored.tries}});
    }
    return files;
  }
  std::string configured_pattern() const { return chosen_ ? *chosen_ + "[+.][1-9e]*" : ""; }
  static std::optional<verity::Digest> pinned_image(const std::string& content) {
    Result<UkiInfo> info = read_uki(as_bytes(content));
    if (!info) return std::nullopt;
    Result<verity::Digest> digest = kernel_cmdline::pinned_digest(info->cmdline);
    return digest ? std::optional(*digest) : std::nullopt;
  }
  static std::optional<Tries> counter(std::optional<unsigned> tries_left) {
    return tries_left ? std::optional(Tries{.left = *tries_left, .done = 0}) : std::nullopt;
  }
  static std::string key_of(std::string id) {
    std::transform(id.begin(), id.end(), id.begin(), [](char c) {
      return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    return id;
  }
  Result<Stored*> find(const std::string& id) {
    CFS_TRY(check_entry_id(id));
    auto found = stored_.find(key_of(id));
    if (found == stored_.end()) return make_error(ErrorCode::kNotFound, "no entry '" + id + "'");
    return &found->second;
  }

  std::map<std::string, Stored> stored_;  // by id in lower case
  std::optional<std::string> chosen_;
  std::string one_shot_;
  std::string firmware_default_;
  std::optional<std::string> selected_;
  uint64_t free_bytes_ = uint64_t{1} << 30;
};

}  // namespace cfs::boot
