// SPDX-License-Identifier: Apache-2.0
// For tests only: a boot loader in memory.
#pragma once

#include <algorithm>
#include <map>
#include <string>

#include "lib/base/io.h"
#include "lib/boot/boot_loader.h"
#include "lib/boot/uki.h"
#include "lib/kernel_cmdline/command_line.h"

namespace cfs::boot {

class FakeBootLoader : public BootLoader {
 public:
  Result<std::vector<BootEntry>> list() const override {
    std::vector<BootEntry> entries;
    for (const auto& [key, stored] : stored_) {
      BootEntry entry{.id = stored.id, .digest = {}, .tries = stored.tries};
      if (Result<UkiInfo> info = read_uki(as_bytes(stored.content))) {
        if (Result<verity::Digest> digest = kernel_cmdline::pinned_digest(info->cmdline))
          entry.digest = *digest;
      }
      entries.push_back(std::move(entry));
    }
    return entries;
  }
  Result<uint64_t> free_bytes() const override { return free_bytes_; }
  Result<> install(const std::string& id, int uki_fd) override {
    CFS_TRY(check_entry_id(id));
    CFS_TRY(read_uki(uki_fd));
    struct stat status = CFS_TRY(fstat_fd(uki_fd));
    std::string content(static_cast<size_t>(status.st_size), '\0');
    CFS_TRY(pread_full(uki_fd, std::as_writable_bytes(std::span(content)), 0));
    auto old = stored_.find(key_of(id));
    if (old != stored_.end() && old->second.content == content) return {};
    if (old != stored_.end() && next_ && same_entry(*next_, id)) {
      return make_error(ErrorCode::kExists, "'" + id + "' boots next");
    }
    if (content.size() > free_bytes_) return make_error(ErrorCode::kNoSpace, "no room");
    stored_[key_of(id)] = {.id = id, .content = std::move(content), .tries = {}};
    return {};
  }
  Result<std::optional<std::string>> next() const override { return next_; }
  Result<> set_next(const std::string& id) override {
    CFS_TRY(read_uki(as_bytes(CFS_TRY(find(id))->content)));
    next_ = id;
    return {};
  }
  Result<std::optional<std::string>> selected() const override { return selected_; }
  Result<> set_tries(const std::string& id, std::optional<unsigned> tries_left) override {
    CFS_TRY(find(id))->tries =
        tries_left ? std::optional(Tries{.left = *tries_left, .done = 0}) : std::nullopt;
    return {};
  }
  Result<> remove(const std::string& id) override {
    CFS_TRY(check_entry_id(id));
    if (next_ && same_entry(*next_, id)) return make_error(ErrorCode::kBusy, "it boots next");
    stored_.erase(key_of(id));
    return {};
  }

  // What the machine does, and what goes wrong.

  /// Starts an entry, as the machine does when it is switched on.
  void start(const std::string& id) {
    selected_ = id;
    std::optional<Tries>& tries = stored_.at(key_of(id)).tries;
    if (tries) *tries = {.left = tries->left - std::min(tries->left, 1U), .done = tries->done + 1};
  }
  /// Cuts an entry's content short.
  void damage(const std::string& id) { stored_.at(key_of(id)).content.resize(1000); }
  void set_free_bytes(uint64_t bytes) { free_bytes_ = bytes; }

 private:
  struct Stored {
    std::string id;
    std::string content;
    std::optional<Tries> tries;
  };

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
  std::optional<std::string> next_;
  std::optional<std::string> selected_;
  uint64_t free_bytes_ = uint64_t{1} << 30;
};

}  // namespace cfs::boot
