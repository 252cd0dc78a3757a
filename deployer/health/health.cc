// SPDX-License-Identifier: Apache-2.0
#include "deployer/health/health.h"

#include <algorithm>
#include <cstdio>

#include "deployer/health/built_in.h"
#include "deployer/health/program.h"
#include "lib/base/atomic_file.h"
#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/base/utf8.h"
#include "lib/json/canonical.h"
#include "lib/json/reader.h"

namespace cfs::deployer {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kReport = "/cfs/health.json";

CheckResult run_built_in(const BuiltInCheck& check, const Environment& environment,
                         const HealthOptions& options) {
  CheckResult result{.name = check.name, .kind = check.kind};
  const Clock::time_point start = Clock::now();
  Result<std::string> said = check.run(environment, options);
  result.duration = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start);
  result.outcome = said ? Outcome::kOk : Outcome::kFailed;
  std::string text = said ? *said : said.error().describe();
  if (!said && !said.error().hint.empty()) text += "\nhint: " + said.error().hint;
  if (text.size() > kMaxCheckOutputBytes) text.resize(kMaxCheckOutputBytes);
  result.output = printable_text(text);
  return result;
}

std::string seconds_text(std::chrono::milliseconds duration) {
  char text[32];
  (void)std::snprintf(text, sizeof text, "%.1f s", static_cast<double>(duration.count()) / 1000);
  return text;
}

std::string padded(std::string text, size_t width) {
  text.resize(std::max(text.size(), width), ' ');
  return text;
}

}  // namespace

bool HealthReport::passed() const {
  return std::all_of(checks.begin(), checks.end(), [](const CheckResult& check) {
    return check.kind == CheckKind::kAdvisory || check.outcome == Outcome::kOk;
  });
}

Result<HealthReport> run_health(const Environment& environment, const HealthOptions& options) {
  HealthReport report{.started = environment.now(), .checks = {}};
  auto add = [&](CheckResult result) {
    if (options.tell) options.tell(result);
    report.checks.push_back(std::move(result));
  };
  auto cannot_run = [&](CheckKind kind, const std::string& why) {
    add({.name = "health.d",
         .kind = kind,
         .outcome = Outcome::kCannotRun,
         .output = printable_text(why)});
  };
  const Result<std::vector<std::string>> misplaced = find_misplaced(environment);
  CFS_TRY(check_interrupted());
  for (CheckKind kind : {CheckKind::kRequired, CheckKind::kAdvisory}) {
    Result<std::vector<CheckFile>> found = find_check_files(environment, kind);
    std::vector<CheckFile> files = found ? std::move(*found) : std::vector<CheckFile>();
    for (const BuiltInCheck& check : built_in_checks()) {
      auto has_its_name = [&](const CheckFile& file) { return file.name == check.name; };
      if (check.kind != kind || std::any_of(files.begin(), files.end(), has_its_name)) continue;
      add(run_built_in(check, environment, options));
      CFS_TRY(check_interrupted());
    }
    for (const CheckFile& file : files) {
      if (!file.is_masked) add(CFS_TRY(run_check_file(file, kind)));
    }
    if (!found) cannot_run(kind, found.error().describe());
    if (kind != CheckKind::kRequired) continue;
    if (!misplaced) cannot_run(kind, misplaced.error().describe());
    for (const std::string& path : misplaced ? *misplaced : std::vector<std::string>()) {
      cannot_run(kind, "'" + path + "' is not run: it belongs in required/ or advisory/ there");
    }
  }
  return report;
}

Result<> save_health_report(const Environment& environment, const HealthReport& report) {
  CFS_TRY(make_directories(AT_FDCWD, environment.run + "/cfs"));
  return write_file_atomically(AT_FDCWD, environment.run + kReport,
                               as_bytes(json::to_canonical(to_json(report)) + "\n"));
}

Result<bool> health_has_passed(const Environment& environment) {
  constexpr size_t kMaxReportBytes = 8 << 20;
  const std::string path = environment.run + kReport;
  Result<std::string> text = read_file(AT_FDCWD, path, kMaxReportBytes, Maker::kCfs);
  if (!text && text.error().code == ErrorCode::kNotFound) return false;
  json::Value json =
      CFS_TRY(json::parse(CFS_TRY(std::move(text)), {.size_bytes = kMaxReportBytes}, path));
  return CFS_TRY(json::Reader(json, path).member("passed")).boolean();
}

std::string_view kind_name(CheckKind kind) {
  return kind == CheckKind::kRequired ? "required" : "advisory";
}

std::string_view outcome_name(Outcome outcome) {
  switch (outcome) {
    case Outcome::kOk:
      return "ok";
    case Outcome::kFailed:
      return "failed";
    case Outcome::kTimedOut:
      return "timed-out";
    case Outcome::kCannotRun:
      return "cannot-run";
  }
  return "";
}

std::string describe(const CheckResult& check) {
  if (check.outcome == Outcome::kOk) return "is good";
  if (check.outcome == Outcome::kTimedOut) return "took too long";
  if (check.outcome == Outcome::kCannotRun) return "could not be run";
  if (check.signal) return "killed by signal " + std::to_string(*check.signal);
  if (check.exit_status) return "exit status " + std::to_string(*check.exit_status);
  return "failed";
}

std::string to_text(const CheckResult& check) {
  std::string text = padded(std::string(outcome_name(check.outcome)), 12) +
                     padded(std::string(kind_name(check.kind)), 10) + padded(check.name, 24) +
                     seconds_text(check.duration);
  if (check.outcome == Outcome::kOk) return text + "\n";
  text += "  " + describe(check) + "\n";
  std::string_view rest = check.output;
  while (!rest.empty()) {
    std::string_view line = rest.substr(0, std::min(rest.find('\n'), rest.size()));
    text += "    " + std::string(line) + "\n";
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
  }
  return text;
}

std::string to_text(const HealthReport& report) {
  std::string text;
  for (const CheckResult& check : report.checks) text += to_text(check);
  return text;
}

json::Value to_json(const CheckResult& check) {
  auto number = [](const std::optional<int>& value) {
    return value ? json::Value(*value) : json::Value();
  };
  return json::Value::Object{{"name", check.name},
                             {"kind", kind_name(check.kind)},
                             {"outcome", outcome_name(check.outcome)},
                             {"exit_status", number(check.exit_status)},
                             {"signal", number(check.signal)},
                             {"milliseconds", int64_t{check.duration.count()}},
                             {"output", check.output}};
}

json::Value to_json(const HealthReport& report) {
  json::Value::Array checks;
  for (const CheckResult& check : report.checks) checks.push_back(to_json(check));
  return json::Value::Object{{"schema", 1},
                             {"started", report.started},
                             {"passed", report.passed()},
                             {"checks", std::move(checks)}};
}

}  // namespace cfs::deployer
