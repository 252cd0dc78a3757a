// SPDX-License-Identifier: Apache-2.0
#include "lib/kernel_cmdline/root_policy.h"

#include <fnmatch.h>

#include <algorithm>
#include <optional>

#include "lib/base/relative_path.h"

namespace cfs::kernel_cmdline {
namespace {

constexpr std::string_view kWhat = "root.conf";
constexpr std::string_view kFirstLine = "cfs-root 1";
constexpr std::string_view kEtc = "/etc/";

Error damaged(const std::string& what) {
  return make_error(ErrorCode::kCorrupt, std::string(kWhat) + ": " + what);
}

// Takes the first line off `text`. A line that does not end is none.
std::optional<std::string_view> take_line(std::string_view& text) {
  size_t end = text.find('\n');
  if (end == std::string_view::npos) return std::nullopt;
  std::string_view line = text.substr(0, end);
  text.remove_prefix(end + 1);
  return line;
}

// The value of the line `key VALUE`.
std::optional<std::string_view> value_of(std::string_view line, std::string_view key) {
  if (!line.starts_with(key) || line.size() <= key.size() || line[key.size()] != ' ') {
    return std::nullopt;
  }
  return line.substr(key.size() + 1);
}

Error looser(const std::string& option, std::string_view asked, std::string_view policy) {
  return make_error(ErrorCode::kInvalidInput, "'" + option + "=" + std::string(asked) +
                                                  "' is looser than the image's own '" +
                                                  std::string(policy) + "'")
      .with_hint("the kernel command line can only tighten what the image says");
}

}  // namespace

RootPolicy default_root_policy() {
  RootPolicy policy;
  policy.keep.assign(std::begin(kIdentityPaths), std::end(kIdentityPaths));
  return policy;
}

bool is_keepable(std::string_view path) {
  if (!path.starts_with(kEtc) || !is_plain_path(path.substr(1))) return false;
  if (path.find_first_of("[]\\") != std::string_view::npos) return false;
  if (path.substr(0, path.rfind('/')).find_first_of("*?") != std::string_view::npos) return false;
  return std::all_of(path.begin(), path.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

bool is_kept(const std::vector<std::string>& keep, const std::string& path) {
  // A pattern has as many names as the part of `path` that it is compared with.
  return std::any_of(keep.begin(), keep.end(), [&](const std::string& pattern) {
    auto names = std::count(pattern.begin(), pattern.end(), '/');
    size_t end = 0;
    while (names > 0 && end < path.size()) {
      end = std::min(path.find('/', end + 1), path.size());
      --names;
    }
    return names == 0 && ::fnmatch(pattern.c_str(), path.substr(0, end).c_str(), FNM_PATHNAME) == 0;
  });
}

Result<RootPolicy> parse_root_policy(std::string_view text) {
  if (text.size() > kMaxRootPolicyBytes) return damaged("too large");
  if (take_line(text) != kFirstLine) {
    return damaged("does not begin with the line '" + std::string(kFirstLine) + "'");
  }
  RootPolicy policy;
  auto take_value = [&](std::string_view key) {
    std::optional<std::string_view> line = take_line(text);
    return line ? value_of(*line, key) : std::nullopt;
  };
  auto etc = etc_mode_of(take_value("etc").value_or(""));
  if (!etc) return damaged("the second line must be 'etc MODE'");
  auto root = root_mode_of(take_value("root").value_or(""));
  if (!root) return damaged("the third line must be 'root MODE'");
  policy.etc = *etc;
  policy.root = *root;
  while (!text.empty()) {
    std::optional<std::string_view> path = take_value("keep");
    if (!path || !is_keepable(*path)) return damaged("the other lines must be 'keep /etc/…'");
    if (policy.keep.size() == kMaxKeptPaths) {
      return damaged("more than " + std::to_string(kMaxKeptPaths) + " paths are kept");
    }
    policy.keep.emplace_back(*path);
  }
  return policy;
}

Result<std::string> serialise_root_policy(const RootPolicy& policy) {
  std::string text = std::string(kFirstLine) + "\netc " + std::string(etc_mode_name(policy.etc)) +
                     "\nroot " + std::string(root_mode_name(policy.root)) + "\n";
  for (const std::string& path : policy.keep) text += "keep " + path + "\n";
  Result<RootPolicy> parsed = parse_root_policy(text);
  if (parsed && *parsed == policy) return text;
  Error error = parsed ? damaged("a path holds a line break") : Error(std::move(parsed).error());
  error.code = ErrorCode::kInvalidInput;
  return error;
}

Result<RootPolicy> tightened(RootPolicy policy, const BootOptions& options) {
  if (options.etc) {
    if (*options.etc < policy.etc) {
      return looser(kEtcOption, etc_mode_name(*options.etc), etc_mode_name(policy.etc));
    }
    policy.etc = *options.etc;
  }
  if (options.root_mode) {
    if (*options.root_mode < policy.root) {
      return looser(kRootModeOption, root_mode_name(*options.root_mode),
                    root_mode_name(policy.root));
    }
    policy.root = *options.root_mode;
  }
  return policy;
}

}  // namespace cfs::kernel_cmdline
