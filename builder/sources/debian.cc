// SPDX-License-Identifier: Apache-2.0
#include "builder/sources/debian.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>

#include "builder/sources/install_log.h"
#include "builder/sources/tar.h"
#include "lib/base/error_list.h"
#include "lib/base/nearest_word.h"

namespace cfs::builder {
namespace {

/// Part of the package mmdebstrap: /bin, /lib and /sbin are links from the start where the suite
/// expects it, so that usr-is-merged can be installed instead of usrmerge and Perl.
constexpr const char* kMergedUsrHooks = "/usr/share/mmdebstrap/hooks/maybe-merged-usr";

// What mmdebstrap calls variants and gives a working system with dpkg.
constexpr std::array<std::string_view, 6> kVariants = {"custom",  "essential", "apt",
                                                       "minbase", "important", "standard"};

Result<std::string> read_mirror(const yaml::Value& value) {
  std::string mirror = CFS_TRY(value.string());
  Result<std::vector<AptSource>> parsed = parse_one_line_sources(mirror, "");
  if (parsed && parsed->size() == 1 && !has_control_characters(mirror)) return mirror;
  return value.error(fmt::format("bad mirror '{}'", mirror))
      .with_hint("one line of sources.list(5): deb [options] URI SUITE COMPONENT...");
}

Result<std::string> read_exclude_pattern(const yaml::Value& value) {
  std::string pattern = CFS_TRY(ImagePathReader{ImagePathReader::Root::kRefused}(value));
  if (has_control_characters(pattern)) return value.error("a pattern is one line of text");
  return pattern;
}

Result<WantedPackage> read_package(const yaml::Value& value) {
  WantedPackage package;
  package.name = CFS_TRY((WordReader{kLettersAndDigits, "+-.:_~=/", 200}(value)));
  CFS_TRY(check_package(value, package.name));
  package.place = value.place();
  return package;
}

DebianSource read_debian(const yaml::Map& map) {
  DebianSource source;
  if (map.require("suite", source.suite, WordReader{kLowerAndDigits, "-.", 64})) {
    source.suite_place = map.find("suite")->place();
  }
  source.components = {"main"};
  map.read_list("components", source.components, WordReader{kLettersAndDigits, "-/", 200});
  if (auto components = map.find("components")) components->refuse_empty_list();
  map.read_list("mirrors", source.mirrors, read_mirror);
  source.variant = "essential";
  map.read("variant", source.variant, yaml::ChoiceReader{kVariants});
  map.read_list("packages", source.packages, read_package);
  map.read("recommends", source.recommends, yaml::read_boolean);
  map.read_list("dpkg_exclude", source.dpkg_exclude, read_exclude_pattern);
  return source;
}

/// Follows what a child prints to standard error: shows how far it is, or all of it.
class Follower {
 public:
  Follower(const Subprocess& child, const std::string& what, Verbosity verbosity)
      : child_(child), verbosity_(verbosity), progress_(what, 0), thread_([this] { follow(); }) {}
  Follower(const Follower&) = delete;
  Follower& operator=(const Follower&) = delete;
  ~Follower() {
    ended_ = true;
    thread_.join();
  }

 private:
  void follow() {
    for (;;) {
      bool is_last_look = ended_;
      std::string text = child_.error_output(offset_);
      // Up to the last whole line, unless no more will come.
      size_t end = is_last_look ? text.size() : text.rfind('\n') + 1;
      offset_ += end;
      show(std::string_view(text).substr(0, end));
      if (is_last_look) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }

  void show(std::string_view text) {
    if (verbosity_ == Verbosity::kEverything) {
      (void)std::fwrite(text.data(), 1, text.size(), stderr);
      return;
    }
    while (!text.empty()) {
      size_t end = std::min(text.find('\n'), text.size());
      std::string step = log_.step();
      std::string before = log_.describe();
      log_.read(text.substr(0, end));
      if (log_.step() != step && !step.empty()) progress_.say_now();
      std::string after = log_.describe();
      if (after != before) progress_.set_note(std::move(after));
      text.remove_prefix(std::min(end + 1, text.size()));
    }
  }

  const Subprocess& child_;
  const Verbosity verbosity_;
  Progress progress_;
  InstallLog log_;
  uint64_t offset_ = 0;
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

/// PATH for mmdebstrap, which is made for Debian's own programs: what somebody has put before them,
/// such as another python3, would run once for every package.
std::string system_programs_first() {
  constexpr std::string_view kPath = "PATH=";
  std::string path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
  for (const std::string& entry : child_environment({})) {
    if (entry.starts_with(kPath)) path += ":" + entry.substr(kPath.size());
  }
  return path;
}

class Debian : public Source {
 public:
  explicit Debian(const yaml::Map& map) : settings_(read_debian(map)) {}

  void add_package(const WantedPackage& package) override { settings_.packages.push_back(package); }

  Result<> check(const SourceContext&) const override {
    for (const auto& [program, package] :
         {std::pair("mmdebstrap", "mmdebstrap"), std::pair("apt-get", "apt")}) {
      Result<std::string> found = find_program(program);
      if (found) continue;
      return Error(std::move(found).error())
          .with_hint(fmt::format("install the Debian package {}", package));
    }
    return {};
  }

  Result<> prepare(const SourceContext& context) override {
    AptHost host = CFS_TRY(query_apt_host());
    std::vector<std::string> mirrors = settings_.mirrors;
    if (mirrors.empty()) {
      Result<std::vector<std::string>> own =
          host_sources(host, settings_.suite, settings_.components);
      if (!own) {
        Error error = std::move(own).error();
        if (error.code == ErrorCode::kNotFound) error.message.insert(0, settings_.suite_place);
        return error;
      }
      mirrors = std::move(*own);
    }
    std::string transcript;
    Result<> packages_exist = check_packages(
        {.arch = context.arch, .sources = mirrors, .options = host.options}, transcript);
    if (context.verbosity == Verbosity::kEverything) {
      (void)std::fputs(transcript.c_str(), stderr);
    }
    CFS_TRY(std::move(packages_exist));
    command_ = mmdebstrap_command(settings_, context, mirrors, host.options);
    return {};
  }

  Result<> import(const SourceContext& context, Rootfs& rootfs) override {
    Subprocess child = CFS_TRY(Subprocess::start(command_));
    Result<> imported = read_archive(child, context, rootfs);
    if (!imported && imported.error().code != ErrorCode::kCorrupt) return imported;
    // A child that died leaves a cut-off archive; then its own words are the reason.
    Result<> ended = child.wait();
    const std::string said = child.error_output();
    bool disk_is_full = said.find("No space left on device") != std::string::npos;
    bool has_failed = !ended && ended.error().code == ErrorCode::kSubprocess;
    if (has_failed && disk_is_full) {
      Error error = std::move(ended).error();
      error.code = ErrorCode::kNoSpace;
      return std::move(error).with_hint(
          "mmdebstrap unpacks packages in $TMPDIR (default /tmp): name a place with more room "
          "there");
    }
    if (has_failed) {
      if (std::optional<Error> mirror = mirror_error(said)) return std::move(*mirror);
    }
    CFS_TRY(std::move(ended));
    return imported;
  }

 private:
  Result<> check_packages(const AptQuery& query, std::string& transcript) const {
    if (settings_.packages.empty()) return {};
    Progress progress("asking apt for the packages of " + settings_.suite, 0);
    Result<AptLists> lists = AptLists::fetch(query, transcript);
    if (!lists) {
      // mmdebstrap looks for the keys of a suite in more places than apt does, so it is the judge.
      bool lacks_key = lists.error().message.find("NO_PUBKEY") != std::string::npos;
      if (lacks_key) return {};
      Error error = std::move(lists).error();
      if (error.hint.empty()) error.hint = "--verbose shows all that apt says";
      return error;
    }
    std::vector<std::string> names;
    for (const WantedPackage& package : settings_.packages) names.push_back(package.name);
    std::vector<MissingPackage> missing = CFS_TRY(lists->missing(names, transcript));
    const bool has_plus = std::any_of(names.begin(), names.end(),
                                      [](const auto& name) { return name.ends_with('+'); });
    if (missing.empty() && !has_plus) return {};
    const std::vector<std::string> known = CFS_TRY(lists->names());
    for (MissingPackage& package : packages_with_a_plus(names, known)) {
      missing.push_back(std::move(package));
    }
    if (missing.empty()) return {};
    return missing_packages_error(settings_.suite, settings_.packages, missing, known);
  }

  Result<> read_archive(Subprocess& child, const SourceContext& context, Rootfs& rootfs) const {
    Follower follower(child, "installing Debian " + settings_.suite, context.verbosity);
    Progress progress("reading the installed Debian " + settings_.suite, 0);
    return import_tar_stream(child.stdout_fd(), "the output of mmdebstrap", TarPlacement{}, rootfs,
                             progress);
  }

  DebianSource settings_;
  Command command_;
};

}  // namespace

SourceKind debian_kind() {
  return {.key = "debian",
          .keys = {"suite", "components", "mirrors", "variant", "packages", "recommends",
                   "dpkg_exclude"},
          .installs_packages = true,
          .read = [](const yaml::Map& map, const std::string&) -> std::shared_ptr<Source> {
            return std::make_shared<Debian>(map);
          }};
}

Command mmdebstrap_command(const DebianSource& source, const SourceContext& context,
                           const std::vector<std::string>& mirrors,
                           const std::vector<std::string>& apt_options) {
  Command command;
  command.arguments = {"mmdebstrap",
                       "--verbose",  // which install_log.h reads
                       "--mode=auto",
                       "--format=tar",
                       "--variant=" + source.variant,
                       "--architectures=" + context.arch,
                       std::string("--hook-dir=") + kMergedUsrHooks,
                       fmt::format("--aptopt=APT::Install-Recommends \"{}\";", source.recommends)};
  std::vector<std::string> packages;
  for (const WantedPackage& package : source.packages) packages.push_back(package.name);
  if (!packages.empty()) {
    command.arguments.push_back(fmt::format("--include={}", fmt::join(packages, ",")));
  }
  for (const std::string& option : apt_options) command.arguments.push_back("--aptopt=" + option);
  for (const std::string& pattern : source.dpkg_exclude) {
    command.arguments.push_back("--dpkgopt=path-exclude=" + pattern);
  }
  command.arguments.push_back(source.suite);
  command.arguments.emplace_back("-");
  command.arguments.insert(command.arguments.end(), mirrors.begin(), mirrors.end());
  command.environment = {fmt::format("SOURCE_DATE_EPOCH={}", context.source_date_epoch),
                         system_programs_first()};
  command.working_directory = "/";
  return command;
}

std::vector<MissingPackage> packages_with_a_plus(const std::vector<std::string>& wanted,
                                                 const std::vector<std::string>& names) {
  std::vector<MissingPackage> missing;
  for (const std::string& name : wanted) {
    if (!name.ends_with('+') || name.find_first_of("=/") != std::string::npos) continue;
    if (std::binary_search(names.begin(), names.end(), name)) continue;  // g++
    // apt has said so itself if there is none without the '+' either.
    if (!std::binary_search(names.begin(), names.end(), name.substr(0, name.size() - 1))) continue;
    missing.push_back({.name = name, .reason = "does not exist"});
  }
  return missing;
}

Error missing_packages_error(const std::string& suite, const std::vector<WantedPackage>& wanted,
                             const std::vector<MissingPackage>& missing,
                             const std::vector<std::string>& names) {
  std::vector<std::string_view> words(names.begin(), names.end());
  std::vector<Error> errors;
  for (const MissingPackage& package : missing) {
    auto asked = std::find_if(wanted.begin(), wanted.end(), [&](const WantedPackage& candidate) {
      return candidate.name.substr(0, candidate.name.find_first_of(":=/")) == package.name;
    });
    bool exists = std::find(names.begin(), names.end(), package.name) != names.end();
    std::string near = exists ? "" : nearest_word(package.name, words);
    errors.push_back(
        make_error(ErrorCode::kNotFound, fmt::format("{}the package '{}' {} in {}",
                                                     asked == wanted.end() ? "" : asked->place,
                                                     package.name, package.reason, suite))
            .with_hint(near.empty() ? "" : "did you mean '" + near + "'?"));
  }
  return combine_errors("the list of packages", std::move(errors));
}

}  // namespace cfs::builder
