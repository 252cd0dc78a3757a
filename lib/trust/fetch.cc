// SPDX-License-Identifier: Apache-2.0
#include "lib/trust/fetch.h"

#include <fmt/format.h>

#include "lib/release/layout.h"

namespace cfs::trust {

Result<std::string> fetch_bounded(const Fetch& fetch, const std::string& path, size_t limit_bytes) {
  std::string content = std::move(CFS_TRY(fetch(path, limit_bytes))).untrusted();
  if (content.size() > limit_bytes) {
    return make_error(ErrorCode::kCorrupt,
                      fmt::format("'{}' is larger than {} bytes", path, limit_bytes));
  }
  return content;
}

Result<std::string> fetch_needed(const Fetch& fetch, const std::string& path, size_t limit_bytes) {
  Result<std::string> content = fetch_bounded(fetch, path, limit_bytes);
  if (content || content.error().code != ErrorCode::kNotFound) return content;
  Error error = std::move(content).error();
  error.code = ErrorCode::kNetwork;
  error.hint = path == release::kTimestampPath
                   ? "no release repository is there: look at the address that was given"
                   : "the repository lacks a file that its metadata names; try again later or tell "
                     "its operator";
  return error;
}

Result<> check_bytes(std::string_view what, std::string_view content,
                     std::optional<uint64_t> length_bytes, const std::optional<FileHash>& hash) {
  if (length_bytes && content.size() != *length_bytes) {
    return make_error(ErrorCode::kDigestMismatch, fmt::format("{}: has {} bytes, {} were announced",
                                                              what, content.size(), *length_bytes));
  }
  if (hash && !hash->matches(as_bytes(content))) {
    return make_error(
        ErrorCode::kDigestMismatch,
        fmt::format("{}: content has another {} than announced", what, hash->algorithm()));
  }
  return {};
}

}  // namespace cfs::trust
