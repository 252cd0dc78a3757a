// SPDX-License-Identifier: Apache-2.0
#include "lib/boot/boot_loader.h"

#include <algorithm>

#include "lib/boot/boot_counter.h"

namespace cfs::boot {
namespace {

constexpr size_t kMaxIdBytes = 180;

bool is_alphanumeric(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

}  // namespace

Result<> check_entry_id(std::string_view id) {
  auto allowed = [](char c) {
    return is_alphanumeric(c) || c == '.' || c == '+' || c == '~' || c == '_' || c == '-';
  };
  constexpr std::string_view kProgramSuffix = ".efi";
  bool is_program = id.size() >= kProgramSuffix.size() &&
                    same_entry(id.substr(id.size() - kProgramSuffix.size()), kProgramSuffix);
  if (id.empty() || id.size() > kMaxIdBytes || !is_alphanumeric(id.front()) ||
      !std::all_of(id.begin(), id.end(), allowed) || is_program ||
      split_counter(id).tries.has_value()) {
    return make_error(ErrorCode::kInvalidInput,
                      "'" + std::string(id) + "' cannot be the id of a boot entry");
  }
  return {};
}

std::string entry_id(std::string_view version, std::string_view deployment_id) {
  return "cfs_" + std::string(version) + "_" + std::string(deployment_id);
}

std::string deployment_of_entry(std::string_view id) {
  const size_t end = id.rfind('_');
  return end == std::string_view::npos ? "" : std::string(id.substr(end + 1));
}

bool same_entry(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

}  // namespace cfs::boot
