// SPDX-License-Identifier: Apache-2.0
// Moments to look are fixed points in time, not distances from the last look: so a device keeps its
// own place in the day however often it is restarted, and no state has to survive a boot. The first
// look of each boot is made at once, as far as the window allows.
#include "deployer/config/schedule.h"

#include <algorithm>
#include <ctime>

#include "lib/base/atomic_file.h"
#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/base/subprocess.h"
#include "lib/base/utf8.h"
#include "lib/verity/sha256.h"

namespace cfs::deployer {
namespace {

constexpr size_t kMaxSmallFileBytes = 4096;
constexpr size_t kMaxOutputBytes = 1000;
constexpr std::chrono::seconds kCommandTimeout{60};
constexpr std::chrono::seconds kBusctlTimeout{10};

constexpr const char* kLastLook = "/cfs/last-look";

/// When the device has looked for a release in this boot.
std::optional<UnixTime> last_look(const Environment& environment) {
  Result<std::string> text =
      read_file(AT_FDCWD, environment.run + kLastLook, kMaxSmallFileBytes, Maker::kCfs);
  if (!text) return std::nullopt;
  text->erase(text->find_last_not_of('\n') + 1);
  Result<UnixTime> time = parse_time(*text);
  if (!time) return std::nullopt;
  return *time;
}

std::string machine_id(const Environment& environment) {
  Result<std::string> text = read_file(AT_FDCWD, environment.machine_id, kMaxSmallFileBytes);
  if (!text) return "";
  text->erase(text->find_last_not_of('\n') + 1);
  return *text;
}

/// What NetworkManager says of the way to the internet. Without it no network is called metered.
/// Spec: org.freedesktop.NetworkManager, NMMetered: 1 yes, 3 probably.
Result<bool> network_is_metered(const Environment& environment) {
  Result<Subprocess> child = Subprocess::start(
      {.arguments = {environment.busctl, "get-property", "org.freedesktop.NetworkManager",
                     "/org/freedesktop/NetworkManager", "org.freedesktop.NetworkManager",
                     "Metered"},
       .environment = {},
       .working_directory = {}});
  if (!child) return false;
  TimedRun run = CFS_TRY(child->wait_at_most(kBusctlTimeout, kMaxOutputBytes));
  return run.output == "u 1\n" || run.output == "u 3\n";
}

/// Nothing when the program exits with 0; else what it did, in words.
Result<std::optional<std::string>> ask(const std::vector<std::string>& program) {
  auto run_program = [&]() -> Result<TimedRun> {
    Subprocess child = CFS_TRY(Subprocess::start({.arguments = program,
                                                  .environment = {},
                                                  .working_directory = "/",
                                                  .standard_error = StandardError::kWithOutput}));
    return child.wait_at_most(kCommandTimeout, kMaxOutputBytes);
  };
  Result<TimedRun> run = run_program();
  CFS_TRY(check_interrupted());
  std::optional<std::string> refusal;
  if (!run) return refusal = run.error().describe();
  if (run->end == TimedRun::End::kExited && run->number == 0) return refusal;
  std::string how = run->end == TimedRun::End::kTimedOut ? "took too long"
                    : run->end == TimedRun::End::kKilled
                        ? "was killed by signal " + std::to_string(run->number)
                        : "exited with status " + std::to_string(run->number);
  std::string said = printable_text(run->output);
  said.erase(said.find_last_not_of('\n') + 1);
  return refusal = "'" + program.front() + "' " + how + (said.empty() ? "" : ", saying: " + said);
}

}  // namespace

Result<std::optional<std::string>> why_not_look(const Config& config,
                                                const Environment& environment) {
  const Config::Update& update = config.update;
  const UnixTime now = environment.now();
  const std::optional<UnixTime> last = last_look(environment);
  std::optional<std::string> reason;
  if (last &&
      !is_due(now, *last, update.every, part_of_jitter(machine_id(environment), update.jitter))) {
    return reason = "looked at " + format_time(*last) + "; update.every is not over";
  }
  if (update.window && !is_within(*update.window, minute_of_day(now))) {
    return reason = "this is not the time of update.window";
  }
  if (update.metered == Metered::kRefuse && CFS_TRY(network_is_metered(environment))) {
    return reason = "the network is metered";
  }
  return reason;
}

Result<> note_look(const Environment& environment) {
  CFS_TRY(make_directories(AT_FDCWD, environment.run + "/cfs"));
  return write_file_atomically(
      AT_FDCWD, environment.run + kLastLook,
      as_bytes(format_time(std::max<UnixTime>(environment.now(), 0)) + "\n"));
}

Result<std::optional<std::string>> why_not_reboot(const Config& config,
                                                  const Environment& environment) {
  const Config::Reboot& reboot = config.reboot;
  std::optional<std::string> reason;
  switch (reboot.when) {
    case RebootWhen::kNever:
      return reason = "reboot.when is never";
    case RebootWhen::kNow:
      break;
    case RebootWhen::kWindow:
      if (config.update.window &&
          !is_within(*config.update.window, minute_of_day(environment.now()))) {
        return reason = "this is not the time of update.window";
      }
      break;
    case RebootWhen::kIdle:
      reason = CFS_TRY(ask(reboot.idle_command));
      if (reason) return reason = "the device is not idle: " + *reason;
      break;
  }
  if (reboot.lock_command.empty()) return reason;
  reason = CFS_TRY(ask(reboot.lock_command));
  if (reason) reason = "no lock for a reboot: " + *reason;
  return reason;
}

std::chrono::seconds part_of_jitter(std::string_view machine_id, std::chrono::seconds jitter) {
  if (jitter.count() <= 0) return std::chrono::seconds(0);
  const std::string text = "cfs update.jitter " + std::string(machine_id);
  const verity::Sha256Digest digest = verity::sha256(as_bytes(text));
  uint64_t number = 0;
  for (size_t i = 0; i < sizeof number; ++i) {
    number = number << 8 | std::to_integer<uint64_t>(digest.bytes()[i]);
  }
  return std::chrono::seconds(number % static_cast<uint64_t>(jitter.count()));
}

bool is_due(UnixTime now, UnixTime last, std::chrono::seconds every, std::chrono::seconds offset) {
  if (last > now) return true;
  auto moments_until = [&](UnixTime time) {
    const UnixTime since = time - offset.count();
    return since / every.count() - (since % every.count() < 0 ? 1 : 0);
  };
  return moments_until(now) > moments_until(last);
}

bool is_within(const TimeWindow& window, int minute) {
  if (window.begin < window.end) return minute >= window.begin && minute < window.end;
  return minute >= window.begin || minute < window.end;
}

int minute_of_day(UnixTime time) {
  const auto seconds = static_cast<std::time_t>(time);
  std::tm here{};
  if (::localtime_r(&seconds, &here) == nullptr) return 0;
  return here.tm_hour * 60 + here.tm_min;
}

}  // namespace cfs::deployer
