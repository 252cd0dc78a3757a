// SPDX-License-Identifier: Apache-2.0
#include "deployer/trial.h"

#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

#include <functional>
#include <memory>

#include "deployer/bless.h"
#include "deployer/config/config.h"
#include "deployer/login_notice.h"
#include "deployer/mounted_esp.h"
#include "deployer/options.h"
#include "deployer/sysroot/known_time.h"
#include "deployer/sysroot/running.h"
#include "deployer/systemctl.h"
#include "lib/base/duration.h"
#include "lib/base/interrupt.h"
#include "lib/boot/efi_variables.h"
#include "lib/json/canonical.h"

namespace cfs::deployer {
namespace {

/// How long an orderly restart may take.
constexpr std::chrono::seconds kRestartTimeout{300};
/// How long a machine that is to be restarted waits for whoever changes the sysroot.
constexpr std::chrono::seconds kLockTimeout{120};

struct Arguments {
  std::string sysroot = kDefaultSysroot;
  std::string esp;
  bool on_trial = false;
  bool limit = false;
};

/// Opens the sysroot, for which another cfs-deploy that is changing it is waited for, but not
/// longer than `patience`. Returns what `write` does: true if the machine is to be restarted.
Result<bool> write_when_free(
    const Arguments& arguments, const Environment& environment, std::chrono::seconds patience,
    const std::function<Result<bool>(Sysroot&, boot::BootLoader&)>& write) {
  Sysroot sysroot = CFS_TRY(Sysroot::open_when_free(environment, arguments.sysroot, patience));
  MountedEsp esp = CFS_TRY(MountedEsp::open(arguments.esp, environment, Access::kWrite));
  return write(sysroot, esp.loader());
}

Reason overdue(std::chrono::seconds limit) {
  return {.kind = ReasonKind::kNoHealth,
          .what = {},
          .detail = "not within " + format_duration(limit) + " after it was started",
          .exit_status = {}};
}

std::chrono::seconds time_since_boot() {
  timespec now = {};
  (void)::clock_gettime(CLOCK_BOOTTIME, &now);
  return std::chrono::seconds(now.tv_sec);
}

/// True while the running deployment has not been proven good, by the sysroot's records.
Result<bool> is_recorded_on_trial(const Environment& environment, const std::string& path) {
  Sysroot sysroot = CFS_TRY(Sysroot::open(environment, path, Access::kRead));
  Inventory inventory = CFS_TRY(read_inventory(sysroot));
  std::optional<Running> running = CFS_TRY(
      running_system(environment, CFS_TRY(boot::selected_entry(environment.efi_variables))));
  const References now = references_now(inventory, running);
  return running && now.booted && now.booted->state == DeploymentState::kTrial;
}

/// Waits until the time is up; ends the trial if it still goes on then. When systemd does not
/// restart the machine the kernel does.
Result<Answer> wait_for_the_limit(const Arguments& arguments, const Environment& environment) {
  const Config config = read_config(environment).value_or(Config{});  // its check says so
  const std::chrono::seconds limit = config.health.limit;
  while (time_since_boot() < limit) {
    CFS_TRY(check_interrupted());
    if (!CFS_TRY(is_on_trial(environment, arguments.sysroot))) return Answer();
    const auto left = limit - time_since_boot();
    ::sleep(static_cast<unsigned>(std::clamp<int64_t>(left.count(), 0, 10)));  // NOLINT
  }
  if (!CFS_TRY(
          end_trial_at_limit(environment, arguments.sysroot, arguments.esp, limit, kLockTimeout))) {
    return Answer();
  }
  environment.print(describe(overdue(limit)) + ": restarting\n");
  Result<> restarted = restart(environment);
  ::sleep(static_cast<unsigned>(kRestartTimeout.count()));  // NOLINT(concurrency-mt-unsafe)
  ::sync();
  (void)::reboot(RB_AUTOBOOT);
  CFS_TRY(std::move(restarted));
  return Answer{.status = 1};
}

}  // namespace

Result<bool> is_on_trial(const Environment& environment, const std::string& sysroot) {
  Result<bool> recorded = is_recorded_on_trial(environment, sysroot);
  CFS_TRY(check_interrupted());
  if (recorded || !CFS_TRY(boot::is_counted_boot(environment.efi_variables))) return recorded;
  return true;
}

Reason reason_of(const HealthReport& report) {
  Reason reason{.kind = ReasonKind::kCheck};
  for (const CheckResult& check : report.checks) {
    if (check.kind != CheckKind::kRequired || check.outcome == Outcome::kOk) continue;
    reason.what = what_of(check.name);
    reason.exit_status = check.exit_status;
    reason.detail = detail_of(check.output + (check.exit_status ? "" : "\n" + describe(check)));
    break;
  }
  return reason;
}

Result<bool> record_ill_health(Sysroot& sysroot, boot::BootLoader& loader,
                               const Environment& environment, Reason reason) {
  Inventory inventory = CFS_TRY(note_what_booted(sysroot, environment, loader));
  reason.when = CFS_TRY(time_of_record(sysroot, inventory, environment));
  const std::optional<Deployment>& booted = inventory.references.booted;
  std::optional<Running> running = CFS_TRY(running_system(environment, CFS_TRY(loader.selected())));
  if (!booted || !running || booted->digest != running->image) {
    return as_far_as_readable(
        inventory,
        make_error(ErrorCode::kNotFound, "the running system is not a deployment of this sysroot"));
  }
  CFS_TRY(record_outcome(sysroot, environment, *booted, BootOutcome::kFailed, reason));
  CFS_TRY(write_login_notice(environment,
                             booted->version + " is not in good health: " + describe(reason)));
  if (booted->state != DeploymentState::kTrial) return false;
  for (const boot::BootEntry& entry : CFS_TRY(loader.list())) {
    if (boot::same_entry(entry.id, booted->entry) && entry.tries) return true;
  }
  return false;
}

Result<bool> end_overdue_trial(Sysroot& sysroot, boot::BootLoader& loader,
                               const Environment& environment, std::chrono::seconds limit) {
  Result<bool> has_passed = health_has_passed(environment);
  if (has_passed && *has_passed) {
    Inventory inventory = CFS_TRY(note_what_booted(sysroot, environment, loader));
    std::optional<Running> running =
        CFS_TRY(running_system(environment, CFS_TRY(loader.selected())));
    const std::optional<Deployment>& booted = inventory.references.booted;
    if (running && booted &&
        !CFS_TRY(start_without_proof(environment, *booted, *running)).empty()) {
      return false;  // it stays on trial, in good health
    }
    Result<bool> blessed = bless(sysroot, loader, environment, inventory);
    CFS_TRY(check_interrupted());
    if (blessed) {
      collect_after_bless(sysroot, loader, environment, inventory);
      return false;
    }
    environment.print("cannot be blessed: " + blessed.error().describe() + "\n");
  }
  return record_ill_health(sysroot, loader, environment, overdue(limit));
}

Result<bool> end_trial_at_limit(const Environment& environment, const std::string& sysroot,
                                const std::string& esp, std::chrono::seconds limit,
                                std::chrono::seconds patience) {
  for (;;) {
    if (!CFS_TRY(is_on_trial(environment, sysroot))) return false;
    Result<bool> ended =
        write_when_free({.sysroot = sysroot, .esp = esp}, environment, patience,
                        [&](Sysroot& opened, boot::BootLoader& loader) {
                          return end_overdue_trial(opened, loader, environment, limit);
                        });
    CFS_TRY(check_interrupted());
    if (ended) return ended;
    environment.print("the trial cannot be ended: " + ended.error().describe() + "\n");
    const bool is_busy = ended.error().code == ErrorCode::kBusy;
    if (is_busy && health_has_passed(environment).value_or(false)) continue;
    // Nothing is written down. Where the boots are counted that is enough.
    return boot::is_counted_boot(environment.efi_variables);
  }
}

Result<> restart(const Environment& environment) {
  CFS_TRY_WITH("while restarting the machine", systemctl(environment, {"reboot"}));
  return {};
}

RunCommand declare_health(CLI::App& command) {
  auto arguments = std::make_shared<Arguments>();
  add_sysroot_option(command, arguments->sysroot);
  add_esp_option(command, arguments->esp);
  add_flag(command, "--on-trial", arguments->on_trial,
           "Write a failure down, and restart the machine if the release is on trial");
  add_flag(command, "--limit", arguments->limit,
           "Wait for health.limit, and end a trial that goes on then");
  exclude(command, "--limit", "--on-trial");
  return [arguments](const Environment& environment) -> Result<Answer> {
    if (arguments->limit) return wait_for_the_limit(*arguments, environment);
    HealthOptions options{.sysroot = arguments->sysroot, .esp = arguments->esp, .tell = {}};
    options.tell = [&](const CheckResult& check) { environment.print(to_text(check)); };
    HealthReport report = CFS_TRY(run_health(environment, options));
    CFS_TRY(save_health_report(environment, report));
    if (report.passed()) return Answer{.json = to_json(report)};
    if (arguments->on_trial) {
      const bool is_to_restart = CFS_TRY(write_when_free(
          *arguments, environment, kLockTimeout, [&](Sysroot& sysroot, boot::BootLoader& loader) {
            return record_ill_health(sysroot, loader, environment, reason_of(report));
          }));
      if (is_to_restart) CFS_TRY(restart(environment));
    }
    return Answer{.status = 1, .json = to_json(report)};
  };
}

}  // namespace cfs::deployer
