// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "builder/passes/normalize.h"
#include "lib/base/result.h"

namespace cfs::builder {

/// Who owns a file, by number.
struct Owner {
  uint32_t uid = 0;
  uint32_t gid = 0;
};

/// A Debian root file system, made by mmdebstrap.
struct DebianSource {
  std::string suite;
  std::vector<std::string> components;
  /// apt source lines; empty: the build host's own (apt_sources.h).
  std::vector<std::string> mirrors;
  std::string variant;
  std::vector<std::string> packages;
  bool recommends = false;
  std::vector<std::string> dpkg_exclude;  ///< dpkg path-exclude patterns
};

/// A tar archive, compressed in any way that libarchive knows.
struct TarSource {
  std::string path;    ///< on the build host, absolute
  std::string into;    ///< directory in the image: "/" or "/a/b"
  unsigned strip = 0;  ///< leading path components to drop
};

/// A directory of the build host.
struct DirectorySource {
  std::string path;            ///< on the build host, absolute
  std::string into;            ///< directory in the image: "/" or "/a/b"
  std::optional<Owner> owner;  ///< of every entry; none: what the build host says ("keep")
};

struct Source {
  std::string id;     ///< for messages
  std::string place;  ///< "FILE:LINE:COLUMN: key path: ", for errors found later
  std::variant<DebianSource, TarSource, DirectorySource> kind;
};

/// One rule on the merged tree. Rules are applied in order.
struct FileRule {
  enum class Kind { kContent, kSymlink, kDirectory, kExclude };
  Kind kind = Kind::kContent;
  std::string path;   ///< absolute in the image; kExclude: a glob, where `*` and `?` stop at '/'
                      ///< and `**` does not
  std::string text;   ///< content or symlink target
  uint32_t mode = 0;  ///< permission bits
  Owner owner;
  bool optional = false;  ///< kExclude: matching nothing is fine
  std::string place;      ///< "FILE:LINE:COLUMN: key path: ", for errors found later
};

struct Kernel {
  std::string package;  ///< installed by the first debian source; empty: a source brings a kernel
  std::vector<std::string> initramfs_modules;
  std::vector<std::string> command_line;
};

/// A build manifest, checked, with every relative path resolved against the manifest's folder.
/// Format: docs/MANIFEST.md.
struct Manifest {
  std::string name;
  std::string version;
  int64_t epoch = 0;
  std::string arch;
  std::string channel;
  std::vector<std::string> compatible;
  std::vector<Source> sources;
  std::vector<FileRule> files;
  std::optional<Kernel> kernel;  ///< none: no initramfs and no UKI are made
  int64_t source_date_epoch = 0;
  std::vector<NormalizePass> normalize;
};

/// The name of the unified kernel image, "NAME_VERSION.efi".
[[nodiscard]] std::string boot_file_name(const Manifest& manifest);

/// Time stamps are clamped to this when the manifest says nothing: 2023-11-14T22:13:20Z.
constexpr int64_t kDefaultSourceDateEpoch = 1700000000;

/// Parses a manifest. `file_name` is for messages; `folder` (absolute) is what relative paths are
/// relative to. Errors: kInvalidInput, "FILE:LINE:COLUMN: KEY.PATH: what", often with a hint.
[[nodiscard]] Result<Manifest> parse_manifest(const std::string& text, const std::string& file_name,
                                              const std::string& folder);

/// Reads and parses the manifest at `path`.
[[nodiscard]] Result<Manifest> load_manifest(const std::string& path);

}  // namespace cfs::builder
