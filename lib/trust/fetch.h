// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/result.h"
#include "lib/base/unverified.h"
#include "lib/trust/file_hash.h"

namespace cfs::trust {

/// Fetches the file at `path`, relative to the repository's root ("metadata/2.root.json"), and at
/// most `limit_bytes` of it: a longer one is an error, never cut short. kNotFound when the
/// repository answers that it has no such file for us; every other failure has another code.
using Fetch =
    std::function<Result<Unverified<std::string>>(const std::string& path, size_t limit_bytes)>;

/// Fetches, and looks itself whether the limit was kept. Errors: kCorrupt; those of `fetch`.
[[nodiscard]] Result<std::string> fetch_bounded(const Fetch& fetch, const std::string& path,
                                                size_t limit_bytes);

/// As fetch_bounded(), for a file without which nothing goes on: a missing one is kNetwork, with
/// the hint that the repository is none, or broken.
[[nodiscard]] Result<std::string> fetch_needed(const Fetch& fetch, const std::string& path,
                                               size_t limit_bytes);

/// Succeeds if `content` has the announced length and hash, where there is one.
/// Errors: kDigestMismatch, with `what` in the message.
[[nodiscard]] Result<> check_bytes(std::string_view what, std::string_view content,
                                   std::optional<uint64_t> length_bytes,
                                   const std::optional<FileHash>& hash);

}  // namespace cfs::trust
