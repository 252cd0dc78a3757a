// SPDX-License-Identifier: Apache-2.0
#include "builder/manifest/manifest.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <limits>
#include <map>
#include <set>

#include "builder/boot/kernel.h"
#include "builder/manifest/yaml.h"
#include "builder/passes/merge.h"
#include "builder/passes/rules.h"
#include "builder/sources/apt_sources.h"
#include "lib/base/io.h"
#include "lib/json/value.h"
#include "lib/kernel_cmdline/command_line.h"

namespace cfs::builder {
namespace {

constexpr size_t kMaxManifestBytes = 1 << 20;
constexpr int64_t kMaxEpoch = json::kMaxInteger;
constexpr size_t kMaxPathBytes = 4095;  // path_resolution(7), less the NUL; symlink targets too
constexpr size_t kMaxNameBytes = 255;
// release.json (docs/FORMATS.md): file names, of which NAME_VERSION.efi is one, and boards.
constexpr size_t kMaxFileNameBytes = 128;
constexpr size_t kMaxBoards = 64;
constexpr uint32_t kNoId = std::numeric_limits<uint32_t>::max();  // "no change" to chown(2)

constexpr std::array<std::string_view, 1> kArchitectures = {"amd64"};
// What mmdebstrap calls variants and gives a working system with dpkg.
constexpr std::array<std::string_view, 6> kVariants = {"custom",  "essential", "apt",
                                                       "minbase", "important", "standard"};

constexpr std::string_view kLower = "abcdefghijklmnopqrstuvwxyz";
constexpr std::string_view kUpper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
constexpr std::string_view kDigits = "0123456789";

/// A string of 1..max_size characters that starts with a character of `first` and goes on with
/// those and `more`.
Result<std::string> word(const YamlValue& value, const std::string& first, std::string_view more,
                         size_t max_size) {
  std::string text = CFS_TRY(value.string());
  if (text.empty() || text.size() > max_size || first.find(text[0]) == std::string::npos ||
      text.find_first_not_of(first + std::string(more)) != std::string::npos) {
    return value.error(fmt::format("bad value '{}'", text))
        .with_hint(fmt::format("1 to {} characters of a-z{} 0-9 {}, not starting with one of '{}'",
                               max_size, first.find('A') != std::string::npos ? " A-Z" : "", more,
                               more));
  }
  return text;
}

Result<std::string> one_of(const YamlValue& value, std::span<const std::string_view> choices) {
  std::string text = CFS_TRY(value.string());
  if (std::find(choices.begin(), choices.end(), text) == choices.end()) {
    std::string meant = nearest_word(text, choices);
    return value.error(fmt::format("bad value '{}'", text))
        .with_hint(meant.empty() ? fmt::format("one of: {}", fmt::join(choices, ", "))
                                 : "did you mean '" + meant + "'?");
  }
  return text;
}

/// An absolute path in the image, without "." and "..", "/" only when `root` allows it.
enum class Root { kAllowed, kRefused };
Result<std::string> image_path(const YamlValue& value, Root root) {
  std::string text = CFS_TRY(value.string());
  if (text.empty() || text[0] != '/') {
    return value.error(fmt::format("'{}' must be an absolute path in the image", text));
  }
  Result<std::string> normal = normal_path(text);
  if (!normal) return value.error(normal.error().message);
  if (normal->empty() && root == Root::kRefused) return value.error("'/' cannot be used here");
  if (normal->size() > kMaxPathBytes - 1) {
    return value.error(fmt::format("the path is longer than {} bytes", kMaxPathBytes));
  }
  for (size_t begin = 0; begin < normal->size();) {
    size_t end = std::min(normal->find('/', begin), normal->size());
    if (end - begin > kMaxNameBytes) {
      return value.error(fmt::format("a name in the path is longer than {} bytes", kMaxNameBytes));
    }
    begin = end + 1;
  }
  return "/" + *normal;
}

Result<std::string> host_path(const YamlValue& value, const std::string& folder) {
  std::string text = CFS_TRY(value.string());
  if (text.empty()) return value.error("the path is empty");
  if (text.find('\0') != std::string::npos) return value.error("a path with a NUL byte");
  return (std::filesystem::path(folder) / text).lexically_normal().string();
}

bool has_control_characters(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; });
}

Result<uint32_t> mode(const YamlValue& value) {
  std::string text = CFS_TRY(value.string());
  uint32_t bits = 0;
  auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), bits, 8);
  if (failure != std::errc() || end != text.data() + text.size() || bits > 07777 ||
      text.size() < 3) {
    return value.error(fmt::format("bad mode '{}'", text))
        .with_hint("octal digits, as in \"0644\"");
  }
  return bits;
}

/// "UID:GID" in numbers, or root:root.
Result<Owner> owner(const YamlValue& value) {
  std::string text = CFS_TRY(value.string());
  if (text == "root:root") return Owner{};
  Owner result;
  const char* end = text.data() + text.size();
  auto uid = std::from_chars(text.data(), end, result.uid);
  if (uid.ec == std::errc() && uid.ptr != end && *uid.ptr == ':') {
    auto gid = std::from_chars(uid.ptr + 1, end, result.gid);
    bool used_up = gid.ec == std::errc() && gid.ptr == end;
    if (used_up && result.uid != kNoId && result.gid != kNoId) return result;
  }
  return value.error(fmt::format("bad owner '{}'", text))
      .with_hint("root:root or numbers, as in \"0:42\"");
}

/// What goes to a child program as one word of a list: no spaces, commas or leading dashes.
Result<std::vector<std::string>> package_words(const YamlValue& value, std::string_view more) {
  std::vector<std::string> result;
  for (const YamlValue& item : CFS_TRY(value.list())) {
    result.push_back(CFS_TRY(
        word(item, std::string(kLower) + std::string(kUpper) + std::string(kDigits), more, 200)));
  }
  return result;
}

Result<Source> parse_debian(const YamlValue& value) {
  YamlMap map = CFS_TRY(value.map(
      {"suite", "components", "mirrors", "variant", "packages", "recommends", "dpkg_exclude"}));
  DebianSource source;
  YamlValue suite = CFS_TRY(map.require("suite"));
  source.suite = CFS_TRY(word(suite, std::string(kLower) + std::string(kDigits), "-.", 64));
  source.components = {"main"};
  if (auto found = map.find("components")) {
    source.components = CFS_TRY(package_words(*found, "-/"));
    if (source.components.empty()) return found->error("the list is empty");
  }
  if (auto found = map.find("mirrors")) {
    for (const YamlValue& item : CFS_TRY(found->list())) {
      std::string mirror = CFS_TRY(item.string());
      Result<std::vector<AptSource>> parsed = parse_one_line_sources(mirror, "");
      if (!parsed || parsed->size() != 1 || has_control_characters(mirror)) {
        return item.error(fmt::format("bad mirror '{}'", mirror))
            .with_hint("one line of sources.list(5): deb [options] URI SUITE COMPONENT...");
      }
      source.mirrors.push_back(std::move(mirror));
    }
  }
  source.variant = "essential";
  if (auto found = map.find("variant")) source.variant = CFS_TRY(one_of(*found, kVariants));
  if (auto found = map.find("packages")) {
    source.packages = CFS_TRY(package_words(*found, "+-.:_~=/"));
  }
  if (auto found = map.find("recommends")) source.recommends = CFS_TRY(found->boolean());
  if (auto found = map.find("dpkg_exclude")) {
    for (const YamlValue& item : CFS_TRY(found->list())) {
      std::string pattern = CFS_TRY(image_path(item, Root::kRefused));
      if (has_control_characters(pattern)) return item.error("a pattern is one line of text");
      source.dpkg_exclude.push_back(std::move(pattern));
    }
  }
  return Source{.id = "", .place = value.error("").message, .kind = std::move(source)};
}

Result<Source> parse_tar(const YamlValue& value, const std::string& folder) {
  YamlMap map = CFS_TRY(value.map({"path", "into", "strip"}));
  TarSource source;
  YamlValue path = CFS_TRY(map.require("path"));
  source.path = CFS_TRY(host_path(path, folder));
  source.into = "/";
  if (auto found = map.find("into")) source.into = CFS_TRY(image_path(*found, Root::kAllowed));
  if (auto found = map.find("strip")) {
    source.strip = static_cast<unsigned>(CFS_TRY(found->integer(0, 100)));
  }
  return Source{.id = "", .place = path.error("").message, .kind = std::move(source)};
}

Result<Source> parse_directory(const YamlValue& value, const std::string& folder) {
  YamlMap map = CFS_TRY(value.map({"path", "into", "owner"}));
  DirectorySource source;
  YamlValue path = CFS_TRY(map.require("path"));
  source.path = CFS_TRY(host_path(path, folder));
  source.into = "/";
  source.owner = Owner{};
  if (auto found = map.find("into")) source.into = CFS_TRY(image_path(*found, Root::kAllowed));
  if (auto found = map.find("owner")) {
    if (CFS_TRY(found->string()) == "keep") {
      source.owner.reset();
    } else {
      source.owner = CFS_TRY(owner(*found));
    }
  }
  return Source{.id = "", .place = path.error("").message, .kind = std::move(source)};
}

Result<Source> parse_source(const YamlValue& value, const std::string& folder) {
  YamlMap map = CFS_TRY(value.map({"id", "debian", "tar", "dir"}));
  auto debian = map.find("debian");
  auto tar = map.find("tar");
  auto directory = map.find("dir");
  if (int{debian.has_value()} + int{tar.has_value()} + int{directory.has_value()} != 1) {
    return value.error("a source has exactly one of debian, tar and dir");
  }
  Source source = debian ? CFS_TRY(parse_debian(*debian))
                  : tar  ? CFS_TRY(parse_tar(*tar, folder))
                         : CFS_TRY(parse_directory(*directory, folder));
  YamlValue id = CFS_TRY(map.require("id"));
  source.id = CFS_TRY(word(id, std::string(kLower) + std::string(kDigits), "-", 64));
  return source;
}

Result<FileRule> parse_rule(const YamlValue& value) {
  YamlMap map = CFS_TRY(value.map({"path", "content", "symlink", "directory", "mode", "owner",
                                   "match", "exclude", "optional"}));
  FileRule rule;
  // The error() text of an empty message is the place and the key path.
  rule.place = value.error("").message;
  auto refuse = [&](std::initializer_list<const char*> keys, const char* why) -> Result<> {
    for (const char* key : keys) {
      if (auto found = map.find(key)) return found->error(fmt::format("'{}' {}", key, why));
    }
    return {};
  };
  if (auto match = map.find("match")) {
    CFS_TRY(refuse({"path", "content", "symlink", "directory", "mode", "owner"},
                   "does not go with 'match'"));
    rule.kind = FileRule::Kind::kExclude;
    rule.path = CFS_TRY(image_path(*match, Root::kRefused));
    YamlValue exclude = CFS_TRY(map.require("exclude"));
    if (!CFS_TRY(exclude.boolean())) return exclude.error("can only be true");
    if (auto found = map.find("optional")) rule.optional = CFS_TRY(found->boolean());
    return rule;
  }
  CFS_TRY(refuse({"exclude", "optional"}, "needs 'match'"));
  YamlValue path = CFS_TRY(map.require("path"));
  rule.path = CFS_TRY(image_path(path, Root::kRefused));
  auto content = map.find("content");
  auto symlink = map.find("symlink");
  auto directory = map.find("directory");
  if (int{content.has_value()} + int{symlink.has_value()} + int{directory.has_value()} != 1) {
    return value.error("a path has exactly one of content, symlink and directory");
  }
  if (content) {
    rule.kind = FileRule::Kind::kContent;
    rule.text = CFS_TRY(content->string());
    rule.mode = 0644;
  } else if (symlink) {
    CFS_TRY(refuse({"mode"}, "does not go with 'symlink'"));
    rule.kind = FileRule::Kind::kSymlink;
    rule.text = CFS_TRY(symlink->string());
    if (rule.text.empty()) return symlink->error("the target is empty");
    if (rule.text.size() > kMaxPathBytes || rule.text.find('\0') != std::string::npos) {
      return symlink->error(
          fmt::format("the target is longer than {} bytes or holds a NUL byte", kMaxPathBytes));
    }
    rule.mode = 0777;
  } else {
    if (!CFS_TRY(directory->boolean())) return directory->error("can only be true");
    rule.kind = FileRule::Kind::kDirectory;
    rule.mode = 0755;
  }
  if (auto found = map.find("mode")) rule.mode = CFS_TRY(mode(*found));
  if (auto found = map.find("owner")) rule.owner = CFS_TRY(owner(*found));
  return rule;
}

/// Finds entries below what an earlier rule makes a regular file, unless a rule between them
/// removes or replaces that.
Result<> check_rules(const std::vector<FileRule>& rules) {
  std::map<std::string, const FileRule*> made;
  for (const FileRule& rule : rules) {
    if (rule.kind == FileRule::Kind::kExclude) {
      std::erase_if(made, [&](const auto& entry) { return glob_match(rule.path, entry.first); });
      continue;
    }
    for (size_t slash = rule.path.find('/', 1); slash != std::string::npos;
         slash = rule.path.find('/', slash + 1)) {
      auto above = made.find(rule.path.substr(0, slash));
      if (above == made.end() || above->second->kind != FileRule::Kind::kContent) continue;
      return make_error(
          ErrorCode::kInvalidInput,
          fmt::format("{}'{}' cannot be below '{}', which files[{}] makes a file", rule.place,
                      rule.path, above->first, above->second - rules.data()));
    }
    made[rule.path] = &rule;
  }
  return {};
}

Result<Kernel> parse_kernel(const YamlValue& value) {
  YamlMap map = CFS_TRY(value.map({"package", "initramfs", "cmdline"}));
  Kernel kernel;
  if (auto found = map.find("package")) {
    kernel.package =
        CFS_TRY(word(*found, std::string(kLower) + std::string(kDigits), "+-.=~", 200));
  }
  if (auto found = map.find("initramfs")) {
    YamlMap initramfs = CFS_TRY(found->map({"modules"}));
    YamlValue modules = CFS_TRY(initramfs.require("modules"));
    for (const YamlValue& item : CFS_TRY(modules.list())) {
      kernel.initramfs_modules.push_back(CFS_TRY(
          word(item, std::string(kLower) + std::string(kUpper) + std::string(kDigits), "_-", 100)));
    }
  }
  if (auto found = map.find("cmdline")) {
    for (const YamlValue& item : CFS_TRY(found->list())) {
      std::string option = CFS_TRY(item.string());
      if (option.empty() || option.find_first_of(" \t\n\0", 0, 4) != std::string::npos) {
        return item.error(fmt::format("bad kernel option '{}'", option))
            .with_hint("one option a list item, without spaces");
      }
      if (!kernel_cmdline::CommandLine::parse(option)
               .names_with_prefix("composefs.digest")
               .empty()) {
        return item.error(fmt::format("'{}' cannot be set by hand", option))
            .with_hint("the builder appends composefs.digest itself");
      }
      if (!std::all_of(option.begin(), option.end(), [](char c) { return c > ' ' && c <= '~'; })) {
        return item.error(fmt::format("bad kernel option '{}'", option))
            .with_hint("printable ASCII only");
      }
      kernel.command_line.push_back(std::move(option));
    }
    // Any digest is as long as the image's will be.
    Result<std::string> line = kernel_command_line(kernel.command_line, verity::Digest());
    if (!line) return found->error(line.error().message).with_hint(line.error().hint);
  }
  return kernel;
}

Result<> parse_image(const YamlValue& value, Manifest& manifest) {
  YamlMap map = CFS_TRY(value.map({"name", "version", "epoch", "arch", "channel", "compatible"}));
  YamlValue name = CFS_TRY(map.require("name"));
  std::string letters_digits = std::string(kLower) + std::string(kDigits);
  manifest.name = CFS_TRY(word(name, letters_digits, ".-", 64));
  YamlValue version = CFS_TRY(map.require("version"));
  manifest.version = CFS_TRY(word(version, letters_digits + std::string(kUpper), ".+~-", 64));
  if (boot_file_name(manifest).size() > kMaxFileNameBytes) {
    return version
        .error(fmt::format("'{}' has {} characters, {} are allowed", boot_file_name(manifest),
                           boot_file_name(manifest).size(), kMaxFileNameBytes))
        .with_hint("shorten image.name or image.version");
  }
  YamlValue epoch = CFS_TRY(map.require("epoch"));
  manifest.epoch = CFS_TRY(epoch.integer(0, kMaxEpoch));
  manifest.arch = "amd64";
  if (auto found = map.find("arch")) manifest.arch = CFS_TRY(one_of(*found, kArchitectures));
  manifest.channel = "stable";
  if (auto found = map.find("channel")) {
    manifest.channel = CFS_TRY(word(*found, letters_digits, "-", 32));
  }
  if (auto found = map.find("compatible")) {
    for (const YamlValue& item : CFS_TRY(found->list())) {
      manifest.compatible.push_back(
          CFS_TRY(word(item, letters_digits + std::string(kUpper), ".,_-", 128)));
      if (manifest.compatible.size() > kMaxBoards) {
        return item.error(fmt::format("more than {} boards", kMaxBoards));
      }
    }
  }
  return {};
}

Result<> parse_reproducible(const YamlValue& value, Manifest& manifest) {
  YamlMap map = CFS_TRY(value.map({"source_date_epoch", "normalize"}));
  if (auto found = map.find("source_date_epoch")) {
    manifest.source_date_epoch = CFS_TRY(found->integer(0, int64_t{1} << 33));
  }
  auto found = map.find("normalize");
  if (!found) return {};
  std::vector<std::string_view> names;
  for (const NormalizePassName& pass : normalize_passes()) names.push_back(pass.name);
  std::set<std::string> wanted;
  for (const YamlValue& item : CFS_TRY(found->list())) {
    std::string name = CFS_TRY(one_of(item, names));
    if (!wanted.insert(name).second) return item.error("'" + name + "' is listed twice");
  }
  manifest.normalize.clear();
  for (const NormalizePassName& pass : normalize_passes()) {
    if (wanted.count(std::string(pass.name)) > 0) manifest.normalize.push_back(pass.pass);
  }
  return {};
}

}  // namespace

std::string boot_file_name(const Manifest& manifest) {
  return fmt::format("{}_{}.efi", manifest.name, manifest.version);
}

Result<Manifest> parse_manifest(const std::string& text, const std::string& file_name,
                                const std::string& folder) {
  YamlValue root = CFS_TRY(YamlValue::parse(text, file_name));
  YamlMap map = CFS_TRY(root.map({"cfs", "image", "sources", "files", "kernel", "reproducible"}));
  YamlValue schema = CFS_TRY(map.require("cfs"));
  if (CFS_TRY(schema.integer(0, kMaxEpoch)) != 1) {
    return schema.error("this version of cfs-build understands manifests of version 1 only");
  }
  Manifest manifest;
  YamlValue image = CFS_TRY(map.require("image"));
  CFS_TRY(parse_image(image, manifest));

  YamlValue sources = CFS_TRY(map.require("sources"));
  for (const YamlValue& item : CFS_TRY(sources.list())) {
    Source source = CFS_TRY(parse_source(item, folder));
    for (const Source& other : manifest.sources) {
      if (other.id == source.id) return item.error("two sources have the id '" + source.id + "'");
    }
    manifest.sources.push_back(std::move(source));
  }
  if (manifest.sources.empty()) return sources.error("the list is empty");
  if (auto found = map.find("files")) {
    for (const YamlValue& item : CFS_TRY(found->list())) {
      manifest.files.push_back(CFS_TRY(parse_rule(item)));
    }
    CFS_TRY(check_rules(manifest.files));
  }
  if (auto found = map.find("kernel")) {
    manifest.kernel = CFS_TRY(parse_kernel(*found));
    bool has_debian = std::any_of(
        manifest.sources.begin(), manifest.sources.end(),
        [](const Source& source) { return std::holds_alternative<DebianSource>(source.kind); });
    if (!manifest.kernel->package.empty() && !has_debian) {
      return found->error("'package' needs a debian source to be installed from");
    }
  }
  manifest.source_date_epoch = kDefaultSourceDateEpoch;
  for (const NormalizePassName& pass : normalize_passes()) manifest.normalize.push_back(pass.pass);
  if (auto found = map.find("reproducible")) CFS_TRY(parse_reproducible(*found, manifest));
  return manifest;
}

Result<Manifest> load_manifest(const std::string& path) {
  std::string text = CFS_TRY(read_file(AT_FDCWD, path, kMaxManifestBytes));
  std::error_code failure;
  std::filesystem::path absolute = std::filesystem::absolute(path, failure);
  if (failure) return errno_error("cannot find out the folder of '" + path + "'", failure.value());
  return parse_manifest(text, path, absolute.parent_path().string());
}

}  // namespace cfs::builder
