// SPDX-License-Identifier: Apache-2.0
#include "builder/sources/apt_lists.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <sstream>

namespace cfs::builder {
namespace {

constexpr size_t kMaxOutputBytes = 64 << 20;

/// What a program that has ended said.
struct Said {
  std::string output;
  std::string errors;
  Result<> ended;
};

Result<Said> run(const Command& command, std::string& transcript) {
  Subprocess child = CFS_TRY(Subprocess::start(command));
  Said said;
  said.output = CFS_TRY(read_fd(child.stdout_fd(), kMaxOutputBytes));
  said.ended = child.wait();
  said.errors = child.error_output();
  transcript += said.output + said.errors;
  return said;
}

/// The lines of `text` that begin with "E: ".
std::vector<std::string> error_lines(std::string_view text) {
  std::vector<std::string> lines;
  std::istringstream stream{std::string(text)};
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with("E: ")) lines.push_back(std::move(line));
  }
  return lines;
}

/// The texts in single quotes in `line`.
std::vector<std::string> quoted_texts(std::string_view line) {
  std::vector<std::string> texts;
  for (;;) {
    size_t open = line.find('\'');
    size_t close = open == std::string_view::npos ? open : line.find('\'', open + 1);
    if (close == std::string_view::npos) return texts;
    texts.emplace_back(line.substr(open + 1, close - open - 1));
    line.remove_prefix(close + 1);
  }
}

}  // namespace

std::vector<MissingPackage> parse_missing_packages(std::string_view errors) {
  constexpr std::string_view kUnknown = "E: Unable to locate package ";
  std::vector<MissingPackage> missing;
  for (const std::string& line : error_lines(errors)) {
    std::vector<std::string> quoted = quoted_texts(line);
    if (line.starts_with(kUnknown)) {
      missing.push_back({line.substr(kUnknown.size()), "does not exist"});
    } else if (line.find("has no installation candidate") != std::string::npos && !quoted.empty()) {
      missing.push_back({quoted[0], "cannot be installed: other packages only refer to it"});
    } else if (line.ends_with("was not found") && quoted.size() == 2) {
      // "E: Version 'V' for 'NAME' was not found" or "E: Release 'S' for 'NAME' was not found".
      missing.push_back(
          {quoted[1],
           fmt::format("has no {} '{}'", line.starts_with("E: Version") ? "version" : "suite",
                       quoted[0])});
    }
  }
  return missing;
}

std::optional<Error> mirror_error(std::string_view errors) {
  for (const std::string& line : error_lines(errors)) {
    bool is_about_mirror = line.starts_with("E: Failed to fetch ") ||
                           line.find("does not have a Release file") != std::string::npos;
    if (!is_about_mirror) continue;
    return make_error(ErrorCode::kNetwork, "apt cannot use a mirror: " + line.substr(3))
        .with_hint(
            "is its address right, and does it have the suite? --verbose shows all that apt "
            "says");
  }
  return std::nullopt;
}

Result<AptLists> AptLists::fetch(const AptQuery& query, std::string& transcript) {
  TemporaryDirectory directory = CFS_TRY(TemporaryDirectory::create("", "cfs-apt-"));
  const std::string& path = directory.path();
  CFS_TRY(make_directories(AT_FDCWD, path + "/lists/partial"));
  CFS_TRY(make_directories(AT_FDCWD, path + "/cache/archives/partial"));
  CFS_TRY(write_file_atomically(AT_FDCWD, path + "/status", Bytes()));
  CFS_TRY(write_file_atomically(AT_FDCWD, path + "/sources.list",
                                as_bytes(fmt::format("{}\n", fmt::join(query.sources, "\n")))));
  CFS_TRY(write_file_atomically(AT_FDCWD, path + "/apt.conf",
                                as_bytes(fmt::format("{}\n", fmt::join(query.options, "\n")))));
  // On the command line, since the files of /etc/apt are read after APT_CONFIG.
  std::vector<std::string> options = {
      "Dir::Etc::SourceList=" + path + "/sources.list",
      "Dir::Etc::SourceParts=/dev/null",
      "Dir::Etc::Preferences=/dev/null",
      "Dir::Etc::PreferencesParts=/dev/null",
      "Dir::State=" + path,
      "Dir::State::Lists=" + path + "/lists",
      "Dir::State::Status=" + path + "/status",
      "Dir::Cache=" + path + "/cache",
      // Containers' settings turn these off, and then every command reads all lists again.
      "Dir::Cache::PkgCache=pkgcache.bin",
      "Dir::Cache::SrcPkgCache=srcpkgcache.bin",
      "APT::Architecture=" + query.arch,
      "APT::Architectures=" + query.arch,
      "APT::Sandbox::User=",
      "Acquire::Languages=none",
  };
  AptLists lists(std::move(directory), std::move(options));
  Said said = CFS_TRY(run(lists.command("apt-get", {"update", "--error-on=any"}), transcript));
  if (said.ended) return lists;
  Error error = std::move(said.ended).error();
  if (error.code == ErrorCode::kSubprocess) {
    if (std::optional<Error> mirror = mirror_error(said.errors)) return std::move(*mirror);
  }
  std::vector<std::string> errors = error_lines(said.errors);
  if (error.code == ErrorCode::kSubprocess && !errors.empty()) {
    error.message = fmt::format("apt cannot read the package lists:\n{}", fmt::join(errors, "\n"));
  }
  return error;
}

Command AptLists::command(const char* program, std::vector<std::string> arguments) const {
  Command command;
  command.arguments = {program};
  for (const std::string& option : options_) command.arguments.push_back("-o" + option);
  command.arguments.insert(command.arguments.end(), arguments.begin(), arguments.end());
  command.environment = {"APT_CONFIG=" + directory_.path() + "/apt.conf"};
  command.working_directory = std::string("/");
  return command;
}

Result<std::vector<MissingPackage>> AptLists::missing(const std::vector<std::string>& packages,
                                                      std::string& transcript) const {
  std::vector<std::string> arguments = {"--simulate", "install", "--"};
  arguments.insert(arguments.end(), packages.begin(), packages.end());
  Said said = CFS_TRY(run(command("apt-get", std::move(arguments)), transcript));
  return parse_missing_packages(said.errors);
}

Result<std::vector<std::string>> AptLists::names() const {
  std::string output = CFS_TRY(run_command(command("apt-cache", {"pkgnames"}), kMaxOutputBytes));
  std::vector<std::string> names;
  std::istringstream stream(output);
  for (std::string name; std::getline(stream, name);) names.push_back(std::move(name));
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace cfs::builder
