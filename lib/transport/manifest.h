// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/byte_stream.h"
#include "lib/base/result.h"
#include "lib/verity/digest.h"

namespace cfs::transport {

constexpr size_t kMaxManifestBytes = 64 << 20;

/// An object as it lies in a repository.
struct Entry {
  verity::Digest digest;
  uint64_t size_bytes = 0;          ///< plain
  uint64_t encoded_size_bytes = 0;  ///< of the .zst file
  bool operator==(const Entry&) const = default;
};

/// The objects that must be fetched for an image: `rel/<image digest>/manifest` (docs/FORMATS.md).
struct Manifest {
  Entry image;
  std::vector<Entry> objects;  ///< sorted by digest, without the image
  bool operator==(const Manifest&) const = default;
};

/// Parses a transport manifest from pieces of any size; memory is the result and one line.
///
/// Refused, with the line number: anything but the exact format, objects that are not in strictly
/// ascending order, numbers beyond 2^53 - 1 or with leading zeros, more than kMaxManifestBytes.
/// Errors: kCorrupt; kUnsupported (another format number). Trust: input is attacker-controlled.
class ManifestParser {
 public:
  [[nodiscard]] Result<> feed(std::string_view piece);
  /// The whole manifest; kCorrupt when the text ended in the middle. Call once.
  [[nodiscard]] Result<Manifest> finish();

 private:
  Result<> parse_line(std::string_view line);

  Manifest manifest_;
  std::string partial_line_;
  uint64_t total_bytes_ = 0;
  uint64_t line_number_ = 0;
};

[[nodiscard]] Result<Manifest> parse_manifest(std::string_view text);

/// Writes a manifest. `manifest.objects` must be sorted by digest and unique.
/// Errors: kInvalidInput (order, or larger than kMaxManifestBytes), those of `sink`.
[[nodiscard]] Result<> write_manifest(const Manifest& manifest, const ByteSink& sink);

}  // namespace cfs::transport
