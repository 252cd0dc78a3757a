// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "builder/manifest/values.h"
#include "lib/base/result.h"
#include "lib/kernel_cmdline/root_policy.h"
#include "lib/sysroot/var_policy.h"
#include "lib/yaml/value.h"

namespace cfs::builder {

class Source;  // builder/sources/source.h

/// A kind of source, as the manifest reads it. The table of them is source_kinds(), in
/// builder/sources/source.h.
struct SourceKind {
  std::string_view key;                ///< "tar": the key that says the kind
  std::vector<std::string_view> keys;  ///< of the map at `key`
  /// It installs packages of a distribution: the kernel's too, and leaves traces of the build host.
  bool installs_packages = false;
  /// Makes a source of the map at `key`; what is wrong is reported there. `folder` (absolute) is
  /// what relative paths are relative to.
  std::shared_ptr<Source> (*read)(const yaml::Map& map, const std::string& folder) = nullptr;
};

/// One item of `sources`.
struct SourceEntry {
  std::string id;  ///< for messages; unique
  const SourceKind* kind = nullptr;
  std::shared_ptr<Source> source;
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
  std::string place;      ///< yaml::Value::place(), for errors found later
};

/// A package of a distribution that somebody asks for.
struct WantedPackage {
  std::string name;   ///< as apt takes it: "dbus", "dbus=1.14.10-1~deb12u1", "dbus/bookworm"
  std::string place;  ///< yaml::Value::place(), for errors found later
};

/// Disk drivers of the initramfs, by the machines that need them.
inline constexpr std::array<std::string_view, 8> kDriverGroups = {
    "virtio", "nvme", "ahci", "scsi", "mmc", "usb", "xen", "hyperv"};

struct Kernel {
  /// Installed by the first source that can; none: a source brings a kernel.
  std::optional<WantedPackage> package;
  std::vector<std::string> initramfs_modules;  ///< besides those that mounting and drivers need
  std::optional<std::vector<std::string>> initramfs_drivers;  ///< of kDriverGroups; none: all
  std::vector<std::string> command_line;
};

/// A directory that lies in the read-only root, unless it is to persist.
struct PersistentPlace {
  std::string_view path;
  std::string_view in_var;  ///< where it lies then
  std::string_view link;    ///< what `path` becomes: a symlink to it
  uint32_t mode;            ///< permission bits where the image does not have it
};

struct PersistentDirectory {
  const PersistentPlace* place = nullptr;
  std::string manifest_place;  ///< yaml::Value::place(), for errors found later
};

struct VarPath {
  sysroot::VarRule rule;
  std::string place;  ///< yaml::Value::place(), for errors found later
};

/// How what the image ships for /var comes to devices, and what else lies there.
struct VarSettings {
  std::vector<VarPath> paths;
  std::vector<PersistentDirectory> persistent;
};

/// One kind of difference between two builds of the same input, and its removal.
enum class NormalizePass {
  kMachineId,         ///< /etc/machine-id empty (systemd makes a transient one), no D-Bus copy
  kHostLeaks,         ///< name, DNS servers and package mirrors of the build host
  kSshHostKeys,       ///< keys that would be the same on every device
  kAptLists,          ///< apt's lists, caches and logs of the installation
  kLogs,              ///< logs of the installation
  kDpkgBackups,       ///< *-old files, /etc/passwd- and the like, /var/backups
  kLdconfigCache,     ///< /var/cache/ldconfig/aux-cache: inode numbers and times inside
  kPythonCache,       ///< __pycache__: source times inside
  kShadowLastChange,  ///< the day of the build in /etc/shadow
  kRandomSeed,        ///< seeds that would be the same on every device
};

struct NormalizePassName {
  NormalizePass pass;
  std::string_view name;  ///< as in the manifest
};

/// Every pass, in the order in which they run. The default of a manifest is all of them.
[[nodiscard]] std::span<const NormalizePassName> normalize_passes();

/// Something that a build refuses unless the manifest allows it, since it weakens what the image's
/// digest vouches for.
enum class Risk {
  kExtensionsFromVar,  ///< /var can supply files of /usr or /etc, by systemd-sysext or -confext
  kProgramsFromVar,    ///< /var can supply programs and units, by a /usr/local that lies there
};

/// The risk's name in the manifest.
[[nodiscard]] std::string_view risk_name(Risk risk);

/// A build manifest, checked, with every relative path resolved against the manifest's folder.
/// Format: docs/MANIFEST.md.
struct Manifest {
  std::string name;
  std::string version;
  int64_t epoch = 0;
  std::string arch;
  std::string channel;
  std::vector<std::string> compatible;
  int64_t state_version = 0;
  std::vector<SourceEntry> sources;
  std::vector<FileRule> files;
  VarSettings var;
  std::optional<Kernel> kernel;  ///< none: no initramfs and no UKI are made
  /// What becomes of changes to the root of a device. The identity is kept always.
  kernel_cmdline::RootPolicy root = kernel_cmdline::default_root_policy();
  int64_t source_date_epoch = 0;
  std::vector<NormalizePass> normalize;
  std::set<Risk> allowed;
};

/// The name of the unified kernel image, "NAME_VERSION.efi".
[[nodiscard]] std::string boot_file_name(const Manifest& manifest);

/// Time stamps are clamped to this when the manifest says nothing: 2023-11-14T22:13:20Z.
constexpr int64_t kDefaultSourceDateEpoch = 1700000000;

/// Parses a manifest. `file_name` is for messages; `folder` (absolute) is what relative paths are
/// relative to; `kinds`, which must outlive the manifest, are the kinds of sources there are.
/// Errors: kInvalidInput with all that is wrong (yaml::Value::reported), each "FILE:LINE:COLUMN:
/// KEY.PATH: what", often with a hint.
[[nodiscard]] Result<Manifest> parse_manifest(const std::string& text, const std::string& file_name,
                                              const std::string& folder,
                                              std::span<const SourceKind> kinds);

/// Reads and parses the manifest at `path`.
[[nodiscard]] Result<Manifest> load_manifest(const std::string& path,
                                             std::span<const SourceKind> kinds);

}  // namespace cfs::builder
