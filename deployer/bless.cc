// SPDX-License-Identifier: Apache-2.0
//
// The order of writes in bless(): the record first, then the entry. A power cut between them leaves
// a good deployment with a boot counter, which note_what_booted() takes away; the other way round
// it would leave one that nobody counts and of which nobody knows that it is good. But if its next
// boots end early, the good one uses up its tries and does not start again. Where no earlier good
// one would start in its place the entry comes first.
//
// In mark_bad() too the record comes first: a bad deployment that is still chosen is turned away
// from by the next note_what_booted(); a good one that is no longer chosen would be taken again by
// the next update.
#include "deployer/bless.h"

#include <memory>

#include "deployer/boot_order.h"
#include "deployer/config/config.h"
#include "deployer/health/health.h"
#include "deployer/login_notice.h"
#include "deployer/mounted_esp.h"
#include "deployer/options.h"
#include "deployer/rollback.h"
#include "deployer/sysroot/known_time.h"
#include "deployer/sysroot/running.h"
#include "deployer/upkeep/gc.h"
#include "lib/base/interrupt.h"

namespace cfs::deployer {
namespace {

Result<Deployment> running_or_error(const Inventory& inventory,
                                    const std::optional<Running>& running) {
  const std::optional<Deployment>& booted = inventory.references.booted;
  if (running && booted && booted->digest == running->image) return *booted;
  return as_far_as_readable(inventory,
                            make_error(ErrorCode::kNotFound,
                                       "the running system is not a deployment of this sysroot"))
      .with_hint("'cfs-deploy status' shows what is installed");
}

/// Whatever the clock did since.
Result<bool> is_blessed_in_this_boot(const Sysroot& sysroot, const Deployment& deployment,
                                     const std::string& boot_id) {
  const History history = CFS_TRY(read_history_to_go_on(sysroot));
  return !history.empty() && history.back().boot_id == boot_id &&
         deployment.blessed > history.back().started;
}

/// Nothing good starts in the place of the deployment when its tries are used up.
Result<bool> is_only_hope(const boot::BootLoader& loader, const Inventory& inventory,
                          const Deployment& deployment) {
  const std::optional<Deployment> way = CFS_TRY(startable_way_back(loader, inventory, deployment));
  return !way || way->state != DeploymentState::kGood;
}

struct Arguments {
  std::string sysroot = kDefaultSysroot;
  std::string esp;
  std::string reason;
  bool late = false;
};

std::shared_ptr<Arguments> declare(CLI::App& command) {
  auto arguments = std::make_shared<Arguments>();
  add_sysroot_option(command, arguments->sysroot);
  add_esp_option(command, arguments->esp);
  return arguments;
}

}  // namespace

Result<std::string_view> start_without_proof(const Environment& environment,
                                             const Deployment& booted, const Running& running) {
  const bool is_started_by_loader =
      !running.entry || boot::same_entry(*running.entry, booted.entry);
  if (!running.is_cold || !is_started_by_loader) return std::string_view("kexec");
  return CFS_TRY(is_soft_reboot(environment)) ? std::string_view("a soft-reboot")
                                              : std::string_view();
}

Result<bool> bless(Sysroot& sysroot, boot::BootLoader& loader, const Environment& environment,
                   Inventory& inventory) {
  std::optional<std::string> selected = CFS_TRY(loader.selected());
  std::optional<Running> running = CFS_TRY(running_system(environment, selected));
  Deployment booted = CFS_TRY(running_or_error(inventory, running));
  bool was_good = booted.state == DeploymentState::kGood;
  if (booted.state == DeploymentState::kBad && booted.held &&
      booted.held->kind == ReasonKind::kMarkedBad) {
    return make_error(ErrorCode::kUnsupported,
                      booted.version + " stays bad: " + describe(*booted.held))
        .with_hint("'cfs-deploy boot " + booted.id + "' tries it again");
  }
  const std::string_view proves_nothing =
      CFS_TRY(start_without_proof(environment, booted, *running));
  if (!proves_nothing.empty()) {
    if (was_good) return false;
    return make_error(ErrorCode::kUnsupported,
                      booted.version + " was started by " + std::string(proves_nothing) +
                          ", which proves nothing: it stays on trial until it was started by "
                          "firmware and boot loader");
  }
  if (!was_good) {
    if (CFS_TRY(is_only_hope(loader, inventory, booted))) CFS_TRY(end_trial(loader, booted));
    booted.state = DeploymentState::kGood;
    booted.held.reset();
    booted.blessed = CFS_TRY(time_after_all_records(sysroot, inventory, environment));
    CFS_TRY(save_deployment(sysroot, booted));
    update_inventory(inventory, booted);
  }
  CFS_TRY(record_outcome(sysroot, environment, booted, BootOutcome::kHealthy, std::nullopt));
  CFS_TRY(end_trial(loader, booted));
  return !was_good;
}

void collect_after_bless(Sysroot& sysroot, boot::BootLoader& loader, const Environment& environment,
                         Inventory& inventory) {
  auto collect = [&]() -> Result<Garbage> {
    const GarbageOptions options{.keep = CFS_TRY(read_config(environment)).keep, .also = {}};
    return collect_garbage(sysroot, loader, environment, inventory, options);
  };
  tell(collect(), environment);
}

Result<Deployment> mark_bad(Sysroot& sysroot, boot::BootLoader& loader,
                            const Environment& environment, Inventory& inventory,
                            const std::string& reason, std::optional<std::chrono::seconds> limit) {
  std::optional<Running> running = CFS_TRY(running_system(environment, CFS_TRY(loader.selected())));
  Deployment bad = CFS_TRY(running_or_error(inventory, running));
  const uint64_t now = CFS_TRY(time_of_record(sysroot, inventory, environment));
  bool is_late = bad.state == DeploymentState::kGood && now > bad.blessed && limit &&
                 now - bad.blessed > static_cast<uint64_t>(limit->count()) &&
                 !CFS_TRY(is_blessed_in_this_boot(sysroot, bad, running->boot_id));
  if (is_late) {
    return make_error(ErrorCode::kInvalidInput, bad.version + " was proven good long ago, at " +
                                                    format_time(static_cast<UnixTime>(bad.blessed)))
        .with_hint("'--late' marks it bad all the same; 'cfs-deploy rollback' only goes back");
  }
  const Deployment target = CFS_TRY(whole_instead_of(sysroot, loader, inventory, bad));
  bad.state = DeploymentState::kBad;
  bad.held = Reason{.kind = ReasonKind::kMarkedBad,
                    .what = {},
                    .detail = detail_of(reason),
                    .exit_status = {},
                    .when = now};
  CFS_TRY(save_deployment(sysroot, bad));
  update_inventory(inventory, bad);
  CFS_TRY(record_outcome(sysroot, environment, bad, BootOutcome::kFailed, bad.held));
  return boot_next(sysroot, loader, inventory, target, {.way_back = WayBack::kNotRequired});
}

RunCommand declare_bless(CLI::App& command) {
  auto arguments = declare(command);
  return [arguments](const Environment& environment) -> Result<Answer> {
    Sysroot sysroot = CFS_TRY(Sysroot::open_when_free(environment, arguments->sysroot));
    MountedEsp esp = CFS_TRY(MountedEsp::open(arguments->esp, environment, Access::kWrite));
    Inventory inventory = CFS_TRY(note_what_booted(sysroot, environment, esp.loader()));
    if (!CFS_TRY(health_has_passed(environment))) {
      return make_error(ErrorCode::kNotFound, "the health checks have not passed in this boot")
          .with_hint("'cfs-deploy health' runs them");
    }
    bool is_new = CFS_TRY(bless(sysroot, esp.loader(), environment, inventory));
    collect_after_bless(sysroot, esp.loader(), environment, inventory);
    environment.print(inventory.references.booted->version +
                      (is_new ? " is good\n" : " was good already\n"));
    return Answer{.json = json::Value::Object{{"schema", 1},
                                              {"booted", to_json(*inventory.references.booted)},
                                              {"is_new", is_new}}};
  };
}

RunCommand declare_mark_bad(CLI::App& command) {
  auto arguments = declare(command);
  add_value(command, "--reason", arguments->reason, "Why; kept in the history");
  add_flag(command, "--late", arguments->late, "Even if it was proven good long ago");
  return [arguments](const Environment& environment) -> Result<Answer> {
    Sysroot sysroot = CFS_TRY(Sysroot::open(environment, arguments->sysroot, Access::kWrite));
    MountedEsp esp = CFS_TRY(MountedEsp::open(arguments->esp, environment, Access::kWrite));
    Inventory inventory = CFS_TRY(note_what_booted(sysroot, environment, esp.loader()));
    std::optional<std::chrono::seconds> limit;
    // A mistake in a file is no reason to stay with a bad release.
    const Config config = read_config(environment).value_or(Config{});
    if (!arguments->late) limit = config.health.mark_bad_within;
    Deployment next =
        CFS_TRY(mark_bad(sysroot, esp.loader(), environment, inventory, arguments->reason, limit));
    environment.print(describe_next(next) + "\n");
    return next_answer(next);
  };
}

RunCommand declare_note_boot(CLI::App& command) {
  auto arguments = declare(command);
  return [arguments](const Environment& environment) -> Result<Answer> {
    Sysroot sysroot = CFS_TRY(Sysroot::open_when_free(environment, arguments->sysroot));
    MountedEsp esp = CFS_TRY(MountedEsp::open(arguments->esp, environment, Access::kWrite));
    Inventory inventory = CFS_TRY(note_what_booted(sysroot, environment, esp.loader()));
    const std::string failed = what_failed(inventory);
    CFS_TRY(write_login_notice(environment, failed));
    if (!failed.empty()) environment.print(failed + "\n");
    return Answer();
  };
}

}  // namespace cfs::deployer
