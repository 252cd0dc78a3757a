// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <variant>

#include "lib/base/bytes.h"
#include "lib/verity/digest.h"

namespace cfs::trust {

/// The hash by which metadata names the content of a file: SHA-256, which is what cfs writes, or
/// SHA-512, which others may. Spec: TUF 1.0.34 §4.4, HASHES.
class FileHash {
 public:
  FileHash() = default;
  // NOLINTNEXTLINE(google-explicit-constructor): a SHA-256 is one
  FileHash(const verity::Sha256Digest& sha256) : value_(sha256) {}
  // NOLINTNEXTLINE(google-explicit-constructor): a SHA-512 is one
  FileHash(const verity::Sha512Digest& sha512) : value_(sha512) {}

  /// "sha256" or "sha512".
  [[nodiscard]] std::string_view algorithm() const;
  /// Lower-case hex.
  [[nodiscard]] std::string hex() const;
  [[nodiscard]] bool matches(Bytes content) const;

  bool operator==(const FileHash&) const = default;

 private:
  std::variant<verity::Sha256Digest, verity::Sha512Digest> value_;
};

}  // namespace cfs::trust
