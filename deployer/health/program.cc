// SPDX-License-Identifier: Apache-2.0
#include "deployer/health/program.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "lib/base/duration.h"
#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/base/subprocess.h"
#include "lib/base/utf8.h"

namespace cfs::deployer {
namespace {

constexpr std::chrono::seconds kDefaultTimeout{60};
constexpr size_t kHeaderBytes = 4096;
constexpr std::string_view kOurLine = "# cfs-health:";
constexpr std::string_view kTimeout = "timeout=";

/// How long the check at `path` may take.
Result<std::chrono::seconds> timeout_of(const std::string& path) {
  UniqueFd file = CFS_TRY(open_regular_at(AT_FDCWD, path));
  std::string header(kHeaderBytes, '\0');
  header.resize(CFS_TRY(read_full(file.get(), std::as_writable_bytes(std::span(header)))));
  if (!header.starts_with("#!")) return kDefaultTimeout;
  size_t at = header.find("\n" + std::string(kOurLine));
  if (at == std::string::npos) return kDefaultTimeout;
  std::string_view setting = std::string_view(header).substr(at + 1 + kOurLine.size());
  setting = setting.substr(0, std::min(setting.find('\n'), setting.size()));
  setting.remove_prefix(std::min(setting.find_first_not_of(' '), setting.size()));
  if (setting.starts_with(kTimeout)) return parse_duration(setting.substr(kTimeout.size()));
  return make_error(ErrorCode::kInvalidInput, "the line '" + std::string(kOurLine) + " " +
                                                  std::string(setting) +
                                                  "' sets something else than timeout=");
}

Result<TimedRun> run_file(const std::string& path) {
  std::chrono::seconds timeout = CFS_TRY(timeout_of(path));
  Subprocess child = CFS_TRY(Subprocess::start({.arguments = {path},
                                                .environment = {},
                                                .working_directory = "/",
                                                .standard_error = StandardError::kWithOutput}));
  TimedRun run = CFS_TRY(child.wait_at_most(timeout, kMaxCheckOutputBytes));
  if (run.end == TimedRun::End::kTimedOut) {
    run.output += (run.output.empty() || run.output.ends_with('\n') ? "" : "\n") +
                  ("no end within " + format_duration(timeout)) + "\n";
  }
  return run;
}

}  // namespace

Result<std::vector<CheckFile>> find_check_files(const Environment& environment, CheckKind kind) {
  std::map<std::string, CheckFile> found;
  for (const std::string& directory : {environment.vendor_directory, environment.local_directory}) {
    const std::string folder = directory + "/health.d/" + std::string(kind_name(kind));
    Result<std::vector<std::string>> names = list_directory(AT_FDCWD, folder);
    if (!names && names.error().code == ErrorCode::kNotFound) continue;
    if (!names) return Error(std::move(names).error());
    for (const std::string& name : *names) {
      if (name.starts_with('.')) continue;
      CheckFile file{.name = printable_text(name), .path = folder + "/" + name};
      std::error_code error;
      file.is_masked = std::filesystem::read_symlink(file.path, error) == "/dev/null";
      found.insert_or_assign(name, std::move(file));
    }
  }
  std::vector<CheckFile> files;
  for (auto& [name, file] : found) files.push_back(std::move(file));
  return files;
}

Result<std::vector<std::string>> find_misplaced(const Environment& environment) {
  std::vector<std::string> misplaced;
  for (const std::string& directory : {environment.vendor_directory, environment.local_directory}) {
    const std::string top = directory + "/health.d";
    Result<std::vector<std::string>> names = list_directory(AT_FDCWD, top);
    if (!names && names.error().code == ErrorCode::kNotFound) continue;
    for (const std::string& name : CFS_TRY(std::move(names))) {
      const bool is_folder =
          name == kind_name(CheckKind::kRequired) || name == kind_name(CheckKind::kAdvisory);
      const std::string path = top + "/" + name;
      if (name.starts_with('.') || is_folder || ::access(path.c_str(), X_OK) != 0) continue;
      misplaced.push_back(path);
    }
  }
  std::sort(misplaced.begin(), misplaced.end());
  return misplaced;
}

Result<CheckResult> run_check_file(const CheckFile& file, CheckKind kind) {
  CheckResult result{.name = file.name, .kind = kind};
  Result<TimedRun> run = run_file(file.path);
  CFS_TRY(check_interrupted());
  if (!run) {
    result.outcome = Outcome::kCannotRun;
    result.output = printable_text(run.error().describe());
    return result;
  }
  result.duration = run->duration;
  result.output = printable_text(run->output);
  switch (run->end) {
    case TimedRun::End::kExited:
      result.exit_status = run->number;
      result.outcome = run->number == 0 ? Outcome::kOk : Outcome::kFailed;
      break;
    case TimedRun::End::kKilled:
      result.signal = run->number;
      result.outcome = Outcome::kFailed;
      break;
    case TimedRun::End::kTimedOut:
      result.outcome = Outcome::kTimedOut;
      break;
  }
  return result;
}

}  // namespace cfs::deployer
