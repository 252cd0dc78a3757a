// SPDX-License-Identifier: Apache-2.0
#include "deployer/upkeep/kernel_complaints.h"

#include <charconv>

namespace cfs::deployer {
namespace {

constexpr size_t kMaxNameBytes = 511;  // of two files, and more than any device's
constexpr unsigned kFacilityShift = 3;
constexpr unsigned kKernelFacility = 0;  // the kernel gives what programs write another one

/// Takes `prefix` off the text; false when it does not begin so.
bool skip(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

/// Takes a decimal number off the text.
template <typename Number>
bool skip_number(std::string_view& text, Number& number) {
  const char* end = text.data() + text.size();
  auto [rest, failure] = std::from_chars(text.data(), end, number);
  if (failure != std::errc()) return false;
  text.remove_prefix(static_cast<size_t>(rest - text.data()));
  return true;
}

/// Takes all before `end`, and `end`, off the text.
bool skip_until(std::string_view& text, std::string_view end, std::string& before) {
  const size_t at = text.find(end);
  if (at == std::string_view::npos || at == 0 || at > kMaxNameBytes) return false;
  before = text.substr(0, at);
  text.remove_prefix(at + end.size());
  return true;
}

}  // namespace

std::optional<Complaint> parse_complaint(std::string_view record) {
  unsigned priority = 0;
  if (!skip_number(record, priority) || !record.starts_with(',')) return std::nullopt;
  if (priority >> kFacilityShift != kKernelFacility) return std::nullopt;
  const size_t start = record.find(';');
  if (start == std::string_view::npos) return std::nullopt;
  std::string_view text = record.substr(start + 1);
  text = text.substr(0, text.find('\n'));  // then come lines about the device

  if (skip(text, "fs-verity (")) {
    DamagedInode damaged;
    if (skip_until(text, ", inode ", damaged.device) && skip_number(text, damaged.inode) &&
        text.starts_with("): ")) {
      return damaged;
    }
    return std::nullopt;
  }
  if (skip(text, "overlayfs: lazy lowerdata lookup failed (")) {
    MissingContent missing;
    if (skip_until(text, ", err=", missing.path_end)) return missing;
    return std::nullopt;
  }
  if (skip(text, "overlayfs: lower file '")) {
    DamagedFile damaged;
    if (skip_until(text, "' has ", damaged.name) &&
        (text == "the wrong fs-verity digest" || text == "no fs-verity digest")) {
      return damaged;
    }
  }
  return std::nullopt;
}

}  // namespace cfs::deployer
