// SPDX-License-Identifier: Apache-2.0
// Is this device in good health? The checks are built in, or executables of the release and of the
// administrator. docs/HEALTH.md tells how to write one.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "deployer/command.h"
#include "lib/base/time.h"
#include "lib/json/value.h"

namespace cfs::deployer {

/// What follows from a failure. Required: a release on trial has failed. Advisory: it is told.
enum class CheckKind { kRequired, kAdvisory };

enum class Outcome { kOk, kFailed, kTimedOut, kCannotRun };

struct CheckResult {
  std::string name;  ///< of a built-in check, or of a file; printable
  CheckKind kind = CheckKind::kRequired;
  Outcome outcome = Outcome::kOk;
  std::optional<int> exit_status;  ///< of a program that has exited
  std::optional<int> signal;       ///< that has killed it
  std::chrono::milliseconds duration{0};
  std::string output;  ///< printable_text(), the last kMaxCheckOutputBytes that it has said
};

constexpr size_t kMaxCheckOutputBytes = 4096;

struct HealthReport {
  UnixTime started = 0;
  std::vector<CheckResult> checks;  ///< in the order in which they ran

  /// Returns true if all required checks are ok.
  [[nodiscard]] bool passed() const;
};

struct HealthOptions {
  std::string sysroot;
  std::string esp;  ///< as MountedEsp::open()
  /// Is told each result as it comes; may be empty.
  std::function<void(const CheckResult&)> tell;
};

/// Runs all checks, one after the other: the required ones first, of each kind the built-in ones
/// first, then by name. A file of the administrator replaces one of the release of the same kind
/// and name, and that a built-in check; a symlink to /dev/null leaves it out. What goes wrong with
/// a check is its result. Errors: kInterrupted.
[[nodiscard]] Result<HealthReport> run_health(const Environment& environment,
                                              const HealthOptions& options);

/// Writes `/run/cfs/health.json`, for others on the device.
[[nodiscard]] Result<> save_health_report(const Environment& environment,
                                          const HealthReport& report);

/// Returns true if the last report of this boot has passed. Errors: kCorrupt, kIo.
[[nodiscard]] Result<bool> health_has_passed(const Environment& environment);

[[nodiscard]] std::string_view kind_name(CheckKind kind);
[[nodiscard]] std::string_view outcome_name(Outcome outcome);

/// How it ended, in a few words: "exit status 3", "killed by signal 11", "took too long".
[[nodiscard]] std::string describe(const CheckResult& check);

/// For people: a line for each check, and below what has not gone well its output, indented.
[[nodiscard]] std::string to_text(const CheckResult& check);
[[nodiscard]] std::string to_text(const HealthReport& report);
/// For programs: docs/schema/health.json.
[[nodiscard]] json::Value to_json(const CheckResult& check);
[[nodiscard]] json::Value to_json(const HealthReport& report);

}  // namespace cfs::deployer
