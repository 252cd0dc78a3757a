// SPDX-License-Identifier: Apache-2.0
#include "builder/manifest/manifest.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "builder/manifest/kernel_options.h"
#include "lib/base/io.h"
#include "lib/json/value.h"
#include "lib/kernel_cmdline/command_line.h"
#include "lib/release/description.h"

namespace cfs::builder {
namespace {

using Root = ImagePathReader::Root;

constexpr size_t kMaxManifestBytes = 1 << 20;
constexpr int64_t kMaxEpoch = json::kMaxInteger;
constexpr int64_t kMaxSourceDateEpoch = int64_t{1} << 33;

constexpr std::array<std::string_view, 4> kEtcModes = {"merge", "overlay", "transient", "ro"};
constexpr std::array<std::string_view, 2> kRootModes = {"ro", "transient"};

constexpr std::array<std::string_view, 1> kArchitectures = {"amd64"};

constexpr std::array<NormalizePassName, 10> kPasses = {{
    {NormalizePass::kMachineId, "machine-id"},
    {NormalizePass::kHostLeaks, "host-leaks"},
    {NormalizePass::kSshHostKeys, "ssh-host-keys"},
    {NormalizePass::kAptLists, "apt-lists"},
    {NormalizePass::kLogs, "logs"},
    {NormalizePass::kDpkgBackups, "dpkg-backups"},
    {NormalizePass::kLdconfigCache, "ldconfig-cache"},
    {NormalizePass::kPythonCache, "pycache"},
    {NormalizePass::kShadowLastChange, "shadow-lastchange"},
    {NormalizePass::kRandomSeed, "random-seed"},
}};

struct RiskName {
  Risk risk;
  std::string_view name;
};
constexpr std::array<RiskName, 2> kRisks = {{{Risk::kExtensionsFromVar, "extensions-from-var"},
                                             {Risk::kProgramsFromVar, "programs-from-var"}}};

constexpr std::string_view kUsrLocal = "/usr/local";
// The names in /var are those that OSTree systems use.
constexpr std::array<PersistentPlace, 5> kPersistentPlaces = {{
    {"/home", "/var/home", "var/home", 0755},
    {"/opt", "/var/opt", "var/opt", 0755},
    {"/root", "/var/roothome", "var/roothome", 0700},
    {"/srv", "/var/srv", "var/srv", 0755},
    {kUsrLocal, "/var/usrlocal", "../var/usrlocal", 0755},
}};

/// The names of a table of things with names.
template <typename Table>
std::vector<std::string_view> names_of(const Table& table) {
  std::vector<std::string_view> names;
  for (const auto& row : table) names.push_back(row.name);
  return names;
}

/// The words of the list at `key`, each one of `choices` and none twice; nothing when absent.
std::optional<std::set<std::string>> read_words(const yaml::Map& map, std::string_view key,
                                                std::span<const std::string_view> choices) {
  std::optional<yaml::Value> list = map.find(key);
  if (!list) return std::nullopt;
  std::set<std::string> words;
  for (const yaml::Value& item : list->items()) {
    std::string word;
    if (item.read(word, yaml::ChoiceReader{choices}) && !words.insert(word).second) {
      item.report(item.error("'" + word + "' is listed twice"));
    }
  }
  return words;
}

void read_image(const yaml::Value& value, Manifest& manifest) {
  yaml::Map map =
      value.map({"name", "version", "epoch", "arch", "channel", "compatible", "state_version"});
  bool has_name = map.require("name", manifest.name, WordReader{kLowerAndDigits, ".-", 64});
  bool has_version =
      map.require("version", manifest.version, WordReader{kLettersAndDigits, ".+~-", 64});
  size_t name_size = boot_file_name(manifest).size();
  if (has_name && has_version && name_size > release::kMaxFileNameBytes) {
    yaml::Value version = *map.find("version");
    version.report(
        version
            .error(fmt::format("'{}' has {} characters, {} are allowed", boot_file_name(manifest),
                               name_size, release::kMaxFileNameBytes))
            .with_hint("shorten image.name or image.version"));
  }
  map.require("epoch", manifest.epoch, yaml::IntegerReader{0, kMaxEpoch});
  manifest.arch = "amd64";
  map.read("arch", manifest.arch, yaml::ChoiceReader{kArchitectures});
  manifest.channel = "stable";
  map.read("channel", manifest.channel, WordReader{kLowerAndDigits, "-", 32});
  map.read_list("compatible", manifest.compatible, WordReader{kLettersAndDigits, ".,_-", 128});
  if (manifest.compatible.size() > release::kMaxBoards) {
    yaml::Value compatible = *map.find("compatible");
    compatible.report(compatible.error(fmt::format("more than {} boards", release::kMaxBoards)));
  }
  map.read("state_version", manifest.state_version, yaml::IntegerReader{0, kMaxEpoch});
}

void read_source(const yaml::Value& value, const std::string& folder,
                 std::span<const SourceKind> kinds, std::vector<SourceEntry>& sources) {
  std::vector<std::string_view> keys = {"id"};
  for (const SourceKind& kind : kinds) keys.push_back(kind.key);
  yaml::Map map = value.map(keys);
  SourceEntry entry;
  bool has_id = map.require("id", entry.id, WordReader{kLowerAndDigits, "-", 64});
  bool is_known = std::any_of(sources.begin(), sources.end(),
                              [&](const SourceEntry& other) { return other.id == entry.id; });
  if (has_id && is_known) value.report(value.error("two sources have the id '" + entry.id + "'"));
  size_t kind_count = 0;
  for (const SourceKind& kind : kinds) {
    std::optional<yaml::Value> found = map.find(kind.key);
    if (!found) continue;
    ++kind_count;
    entry.kind = &kind;
    entry.source = kind.read(found->map(kind.keys), folder);
  }
  if (kind_count != 1) {
    keys.erase(keys.begin());
    value.report(
        value.error(fmt::format("a source has exactly one of the keys {}", fmt::join(keys, ", "))));
  }
  sources.push_back(std::move(entry));
}

void read_rule(const yaml::Value& value, std::vector<FileRule>& rules) {
  yaml::Map map = value.map(
      {"path", "content", "symlink", "directory", "mode", "owner", "match", "exclude", "optional"});
  FileRule rule;
  rule.place = value.place();
  auto refuse = [&](std::initializer_list<const char*> keys, const char* why) {
    for (const char* key : keys) {
      if (auto found = map.find(key)) {
        found->report(found->error(fmt::format("'{}' {}", key, why)));
      }
    }
  };
  bool is_true = false;
  if (map.has("match")) {
    refuse({"path", "content", "symlink", "directory", "mode", "owner"},
           "does not go with 'match'");
    rule.kind = FileRule::Kind::kExclude;
    map.read("match", rule.path, ImagePathReader{Root::kRefused});
    map.require("exclude", is_true, read_true);
    map.read("optional", rule.optional, yaml::read_boolean);
    rules.push_back(std::move(rule));
    return;
  }
  refuse({"exclude", "optional"}, "needs 'match'");
  map.require("path", rule.path, ImagePathReader{Root::kRefused});
  int kinds = int{map.has("content")} + int{map.has("symlink")} + int{map.has("directory")};
  if (kinds != 1) {
    value.report(value.error("a path has exactly one of content, symlink and directory"));
  }
  if (map.has("content")) {
    rule.kind = FileRule::Kind::kContent;
    map.read("content", rule.text, yaml::read_string);
    rule.mode = 0644;
  } else if (auto symlink = map.find("symlink")) {
    refuse({"mode"}, "does not go with 'symlink'");
    rule.kind = FileRule::Kind::kSymlink;
    bool is_text = symlink->read(rule.text, yaml::read_string);
    if (is_text && rule.text.empty()) symlink->report(symlink->error("the target is empty"));
    if (rule.text.size() > kMaxPathBytes || rule.text.find('\0') != std::string::npos) {
      symlink->report(symlink->error(
          fmt::format("the target is longer than {} bytes or holds a NUL byte", kMaxPathBytes)));
    }
    rule.mode = 0777;
  } else {
    rule.kind = FileRule::Kind::kDirectory;
    map.read("directory", is_true, read_true);
    rule.mode = 0755;
  }
  map.read("mode", rule.mode, read_mode);
  map.read("owner", rule.owner, read_owner);
  rules.push_back(std::move(rule));
}

Result<std::string> read_kernel_option(const yaml::Value& value) {
  std::string option = CFS_TRY(value.string());
  Result<> one = kernel_cmdline::check_one_option(option);
  if (!one) return value.error(one.error().message).with_hint(one.error().hint);
  if (!kernel_cmdline::CommandLine::parse(option)
           .names_with_prefix(kernel_cmdline::kPinOption)
           .empty()) {
    return value.error(fmt::format("'{}' cannot be set by hand", option))
        .with_hint("the builder appends composefs.digest itself");
  }
  return option;
}

void read_var_path(const yaml::Value& value, std::vector<VarPath>& paths) {
  yaml::Map map = value.map({"path", "policy"});
  VarPath wanted;
  wanted.place = value.place();
  std::string policy;
  bool has_path = map.require("path", wanted.rule.path, ImagePathReader{Root::kRefused});
  if (has_path && !sysroot::is_var_path(wanted.rule.path)) {
    yaml::Value path = *map.find("path");
    path.report(path.error("'" + wanted.rule.path + "' is not below /var"));
  }
  auto is_same = [&](const VarPath& other) { return other.rule.path == wanted.rule.path; };
  if (has_path && std::any_of(paths.begin(), paths.end(), is_same)) {
    value.report(value.error("'" + wanted.rule.path + "' is listed twice"));
  }
  if (map.require("policy", policy, yaml::ChoiceReader{sysroot::kVarPolicyNames})) {
    wanted.rule.policy = *sysroot::policy_of_name(policy);
  }
  paths.push_back(std::move(wanted));
}

void read_var(const yaml::Value& value, Manifest& manifest) {
  yaml::Map map = value.map({"paths", "persistent"});
  if (auto paths = map.find("paths")) {
    for (const yaml::Value& item : paths->items()) read_var_path(item, manifest.var.paths);
  }
  std::optional<yaml::Value> persistent = map.find("persistent");
  if (!persistent) return;
  std::vector<std::string_view> choices;
  for (const PersistentPlace& place : kPersistentPlaces) choices.push_back(place.path);
  std::set<std::string> words;
  for (const yaml::Value& item : persistent->items()) {
    std::string word;
    if (!item.read(word, yaml::ChoiceReader{choices})) continue;
    if (!words.insert(word).second) item.report(item.error("'" + word + "' is listed twice"));
    if (word == kUsrLocal && manifest.allowed.count(Risk::kProgramsFromVar) == 0) {
      item.report(item.error("systemd, udev and every shell look into /usr/local first, and "
                             "nothing vouches for what is in /var")
                      .with_hint(fmt::format("write 'allow: [{}]' into the manifest",
                                             risk_name(Risk::kProgramsFromVar))));
    }
    auto place = std::find_if(kPersistentPlaces.begin(), kPersistentPlaces.end(),
                              [&](const PersistentPlace& row) { return row.path == word; });
    manifest.var.persistent.push_back({.place = &*place, .manifest_place = item.place()});
  }
}

void read_kernel(const yaml::Value& value, std::span<const SourceKind> kinds, Manifest& manifest) {
  yaml::Map map = value.map({"package", "initramfs", "cmdline"});
  Kernel& kernel = manifest.kernel.emplace();
  std::string package;
  auto read_package = [](const yaml::Value& name) -> Result<std::string> {
    std::string text = CFS_TRY((WordReader{kLowerAndDigits, "+-.=~", 200}(name)));
    CFS_TRY(check_package(name, text));
    return text;
  };
  if (map.read("package", package, read_package)) {
    kernel.package = WantedPackage{.name = package, .place = map.find("package")->place()};
  }
  bool has_installer =
      std::any_of(manifest.sources.begin(), manifest.sources.end(), [](const SourceEntry& entry) {
        return entry.kind != nullptr && entry.kind->installs_packages;
      });
  if (kernel.package && !has_installer) {
    std::vector<std::string_view> installers;
    for (const SourceKind& kind : kinds) {
      if (kind.installs_packages) installers.push_back(kind.key);
    }
    value.report(value.error(fmt::format("'package' needs a {} source to be installed from",
                                         fmt::join(installers, " or "))));
  }
  if (auto found = map.find("initramfs")) {
    yaml::Map initramfs = found->map({"modules", "drivers"});
    initramfs.read_list("modules", kernel.initramfs_modules,
                        WordReader{kLettersAndDigits, "_-", 100});
    if (initramfs.has("drivers")) {
      initramfs.read_list("drivers", kernel.initramfs_drivers.emplace(),
                          yaml::ChoiceReader{kDriverGroups});
    }
  }
  std::optional<yaml::Value> options = map.find("cmdline");
  if (!options) return;
  for (const yaml::Value& item : options->items()) {
    std::string option;
    if (!item.read(option, read_kernel_option)) return;  // the whole line means nothing
    kernel.command_line.push_back(std::move(option));
    // The line that ends here, so that the error is at the option which makes it wrong. Any digest
    // is as long as the image's will be.
    Result<std::string> line = kernel_command_line(kernel.command_line, verity::Digest());
    if (line) continue;
    item.report(item.error(line.error().message).with_hint(line.error().hint));
    return;
  }
}

Result<std::string> read_kept_path(const yaml::Value& value) {
  std::string path = CFS_TRY((ImagePathReader{Root::kRefused}(value)));
  if (kernel_cmdline::is_keepable(path)) return path;
  return value.error(fmt::format("'{}' cannot be kept", path))
      .with_hint(
          "a path below /etc of printable ASCII; '*' and '?' may stand in its last name, and "
          "'[', ']' and '\\' nowhere");
}

void read_etc(const yaml::Value& value, Manifest& manifest) {
  yaml::Map map = value.map({"mode", "keep"});
  std::string mode;
  if (map.read("mode", mode, yaml::ChoiceReader{kEtcModes})) {
    manifest.root.etc = *kernel_cmdline::etc_mode_of(mode);
  }
  std::vector<std::string> keep;
  map.read_list("keep", keep, read_kept_path);
  for (std::string& path : keep) {
    if (std::find(manifest.root.keep.begin(), manifest.root.keep.end(), path) ==
        manifest.root.keep.end()) {
      manifest.root.keep.push_back(std::move(path));
    }
  }
  Result<std::string> written = kernel_cmdline::serialise_root_policy(manifest.root);
  if (!written) value.report(value.error(written.error().message));
}

// What cfs-mount-root is to do with the root.
void read_root_policy(const yaml::Map& map, Manifest& manifest) {
  std::optional<yaml::Value> etc = map.find("etc");
  std::optional<yaml::Value> root = map.find("root");
  if (etc) read_etc(*etc, manifest);
  std::string mode;
  if (root && root->read(mode, yaml::ChoiceReader{kRootModes})) {
    manifest.root.root = *kernel_cmdline::root_mode_of(mode);
  }
  for (const auto& [key, value] : {std::pair("etc", etc), std::pair("root", root)}) {
    if (!value || map.has("kernel")) continue;
    value->report(
        value->error(fmt::format("'{}' needs 'kernel': it is for images that boot", key)));
  }
}

void read_reproducible(const yaml::Value& value, Manifest& manifest) {
  yaml::Map map = value.map({"source_date_epoch", "normalize"});
  map.read("source_date_epoch", manifest.source_date_epoch,
           yaml::IntegerReader{0, kMaxSourceDateEpoch});
  auto wanted = read_words(map, "normalize", names_of(kPasses));
  if (!wanted) return;
  std::erase_if(manifest.normalize, [&](NormalizePass pass) {
    auto row = std::find_if(kPasses.begin(), kPasses.end(),
                            [&](const NormalizePassName& named) { return named.pass == pass; });
    return wanted->count(std::string(row->name)) == 0;
  });
}

void read_manifest(const yaml::Value& root, const std::string& folder,
                   std::span<const SourceKind> kinds, Manifest& manifest) {
  yaml::Map map = root.map({"cfs", "image", "sources", "files", "var", "kernel", "etc", "root",
                            "reproducible", "allow"});
  int64_t version = 0;
  bool has_version = map.require("cfs", version, yaml::IntegerReader{0, kMaxEpoch});
  if (has_version && version != 1) {
    yaml::Value value = *map.find("cfs");
    value.report(value.error("this version of cfs-build understands manifests of version 1 only"));
    return;  // what else there is may be right in that version
  }
  if (auto image = map.require("image")) read_image(*image, manifest);
  if (auto sources = map.require("sources")) {
    sources->refuse_empty_list();
    for (const yaml::Value& item : sources->items()) {
      read_source(item, folder, kinds, manifest.sources);
    }
  }
  if (auto files = map.find("files")) {
    for (const yaml::Value& item : files->items()) read_rule(item, manifest.files);
  }
  auto allowed = read_words(map, "allow", names_of(kRisks)).value_or(std::set<std::string>());
  for (const RiskName& risk : kRisks) {
    if (allowed.count(std::string(risk.name)) > 0) manifest.allowed.insert(risk.risk);
  }
  if (auto var = map.find("var")) read_var(*var, manifest);
  if (auto kernel = map.find("kernel")) read_kernel(*kernel, kinds, manifest);
  read_root_policy(map, manifest);
  manifest.source_date_epoch = kDefaultSourceDateEpoch;
  for (const NormalizePassName& pass : kPasses) manifest.normalize.push_back(pass.pass);
  if (auto reproducible = map.find("reproducible")) read_reproducible(*reproducible, manifest);
}

}  // namespace

std::span<const NormalizePassName> normalize_passes() { return kPasses; }

std::string_view risk_name(Risk risk) {
  auto row = std::find_if(kRisks.begin(), kRisks.end(),
                          [&](const RiskName& named) { return named.risk == risk; });
  return row->name;
}

std::string boot_file_name(const Manifest& manifest) {
  return fmt::format("{}_{}.efi", manifest.name, manifest.version);
}

Result<Manifest> parse_manifest(const std::string& text, const std::string& file_name,
                                const std::string& folder, std::span<const SourceKind> kinds) {
  yaml::Value root = CFS_TRY(yaml::Value::parse(text, file_name));
  Manifest manifest;
  read_manifest(root, folder, kinds, manifest);
  CFS_TRY(root.reported());
  return manifest;
}

Result<Manifest> load_manifest(const std::string& path, std::span<const SourceKind> kinds) {
  std::string text = CFS_TRY(read_file(AT_FDCWD, path, kMaxManifestBytes));
  std::error_code failure;
  std::filesystem::path absolute = std::filesystem::absolute(path, failure);
  if (failure) return errno_error("cannot find out the folder of '" + path + "'", failure.value());
  return parse_manifest(text, path, absolute.parent_path().string(), kinds);
}

}  // namespace cfs::builder
