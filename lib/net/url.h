// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "lib/base/result.h"

namespace cfs::net {

/// The address of a repository, or of a file in one. Parsed once, where it enters a program; what
/// exists is usable.
class Url {
 public:
  enum class Scheme { kHttp, kHttps, kFile };

  static constexpr size_t kMaxBytes = 4096;

  /// `http://` and `https://` (in any case) with a host in ASCII, a path and perhaps a user name
  /// and a password; `file:///path` and `file://localhost/path`. No query, no fragment, no blanks
  /// or control characters: a repository's files are named by paths alone. At most kMaxBytes.
  /// Errors: kInvalidInput, in words that do not repeat a password. Spec: RFC 3986; RFC 8089.
  [[nodiscard]] static Result<Url> parse(std::string_view text);

  [[nodiscard]] Scheme scheme() const { return scheme_; }
  /// All of it, password included: for the network and for files that only their owner reads. Never
  /// for a message, a log or JSON.
  [[nodiscard]] const std::string& with_password() const { return text_; }
  /// For people: without user name and password.
  [[nodiscard]] const std::string& shown() const { return shown_; }
  /// The decoded path, absolute. Scheme::kFile only.
  [[nodiscard]] const std::string& file_path() const { return file_path_; }

  /// The file `path` of the repository at this address, with exactly one '/' between the two.
  /// `path`: names of [A-Za-z0-9.+~_-] and '/'. A '+' is escaped: S3 takes a plain one for a space.
  [[nodiscard]] Url join(std::string_view path) const;

 private:
  Url() = default;
  Scheme scheme_ = Scheme::kHttps;
  std::string text_;
  std::string shown_;
  std::string file_path_;
};

}  // namespace cfs::net
