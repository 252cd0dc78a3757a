// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/verity/digest.h"

namespace cfs::release {

constexpr size_t kMaxDescriptionBytes = 64 << 10;
constexpr unsigned kDescriptionSchema = 1;
constexpr size_t kMaxFileNameBytes = 128;  ///< of ReleaseFile::name
constexpr size_t kMaxBoards = 64;          ///< in ReleaseDescription::compatible

/// One file of a release besides the image and its objects.
struct ReleaseFile {
  /// [A-Za-z0-9][A-Za-z0-9.+~_-]{0,127}, unique in the release, not a description's: neither
  /// "release.json" nor "….release.json".
  std::string name;
  std::string role;             ///< [a-z0-9][a-z0-9-]{0,31}: "uki", …
  verity::Sha256Digest sha256;  ///< plain SHA-256 of the content
  uint64_t size_bytes = 0;
  bool operator==(const ReleaseFile&) const = default;
};

/// What a release is: `release.json` (docs/FORMATS.md). Everything that a device fetches for the
/// release is named here by a digest, or by something that is.
struct ReleaseDescription {
  std::string name;     ///< [a-z0-9][a-z0-9.-]{0,63}
  std::string version;  ///< [A-Za-z0-9][A-Za-z0-9.+~-]{0,63}; for people, has no order
  uint64_t epoch = 0;   ///< order and anti-rollback: grows with every release of a name and channel
  std::string arch;     ///< [a-z0-9][a-z0-9-]{0,31}, Debian's name: "amd64"
  std::string channel;  ///< [a-z0-9][a-z0-9-]{0,31}
  std::vector<std::string> compatible;  ///< boards that may run it, ≤ kMaxBoards; empty: all
  /// Grows when what is kept on a device is changed so that earlier releases cannot use it. Absent
  /// in older files, which means 0.
  uint64_t state_version = 0;
  uint64_t created = 0;                 ///< Unix time

  struct Image {
    verity::Digest digest;  ///< fs-verity digest
    uint64_t size_bytes = 0;
    bool operator==(const Image&) const = default;
  } image;

  /// Distinct objects that the image refers to, without the image itself.
  struct Objects {
    uint64_t count = 0;
    uint64_t size_bytes = 0;  ///< sum of their plain sizes
    bool operator==(const Objects&) const = default;
  } objects;

  struct Kernel {
    std::string version;  ///< ≤ 128 bytes
    std::string cmdline;  ///< ≤ 4096 bytes, printable ASCII
    bool operator==(const Kernel&) const = default;
  } kernel;

  std::vector<ReleaseFile> files;  ///< ≤ 64

  /// rel/<image digest>/manifest. Absent in a build's output.
  struct Transport {
    verity::Sha256Digest sha256;
    uint64_t size_bytes = 0;
    bool operator==(const Transport&) const = default;
  };
  std::optional<Transport> transport;

  bool operator==(const ReleaseDescription&) const = default;

  /// The file of that role, or null.
  [[nodiscard]] const ReleaseFile* file_with_role(std::string_view role) const;
};

/// Return true if a release may have this name, have this version, be in this channel.
[[nodiscard]] bool is_release_name(std::string_view text);
[[nodiscard]] bool is_version(std::string_view text);
[[nodiscard]] bool is_channel(std::string_view text);
/// [A-Za-z0-9][A-Za-z0-9.,_-]{0,127}: one of ReleaseDescription::compatible.
[[nodiscard]] bool is_board(std::string_view text);

/// Parses `release.json`; every field is checked. If kernel.cmdline pins an image digest it must be
/// this release's. Errors: kCorrupt; kUnsupported (another schema).
/// Trust: input is attacker-controlled.
[[nodiscard]] Result<ReleaseDescription> parse_description(std::string_view text);

/// The canonical text with one newline at the end. Errors: kInvalidInput when a field breaks a rule
/// that parse_description checks.
[[nodiscard]] Result<std::string> serialise_description(const ReleaseDescription& description);

}  // namespace cfs::release
