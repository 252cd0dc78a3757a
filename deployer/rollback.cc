// SPDX-License-Identifier: Apache-2.0
#include "deployer/rollback.h"

#include <algorithm>
#include <memory>

#include "deployer/config/config.h"
#include "deployer/mounted_esp.h"
#include "deployer/options.h"
#include "deployer/sysroot/known_time.h"
#include "deployer/sysroot/running.h"
#include "lib/base/interrupt.h"
#include "lib/sysroot/layout.h"

namespace cfs::deployer {
namespace {

/// What these commands have in common.
struct Arguments {
  std::string sysroot = kDefaultSysroot;
  std::string esp;
  std::string id;
  bool no_way_back = false;
  bool force = false;
};

std::shared_ptr<Arguments> declare(CLI::App& command) {
  auto arguments = std::make_shared<Arguments>();
  add_sysroot_option(command, arguments->sysroot);
  add_esp_option(command, arguments->esp);
  return arguments;
}

void add_force_option(CLI::App& command, bool& force) {
  add_flag(command, "--force", force,
           "Even to a release that cannot use what the running one leaves in /var and /etc");
}

Result<uint64_t> state_version(const Sysroot& sysroot, const Deployment& deployment) {
  return CFS_TRY(sysroot.read_release(deployment.digest)).state_version;
}

/// Where a switch goes.
using Choose = std::function<Result<Deployment>(const Inventory&, const boot::BootLoader&)>;

/// Opens what a switch needs, makes it to where `choose` says, and tells.
Result<Answer> run_switch(const Arguments& arguments, const Environment& environment,
                          ReasonKind why, const Choose& choose) {
  Sysroot sysroot = CFS_TRY(Sysroot::open(environment, arguments.sysroot, Access::kWrite));
  MountedEsp esp = CFS_TRY(MountedEsp::open(arguments.esp, environment, Access::kWrite));
  Inventory inventory = CFS_TRY(note_what_booted(sysroot, environment, esp.loader()));
  Deployment target = CFS_TRY(choose(inventory, esp.loader()));
  if (!arguments.force) CFS_TRY(check_state_version(sysroot, inventory, target));
  SwitchOptions options = switch_options(arguments.no_way_back);
  if (arguments.id.empty() && target.state == DeploymentState::kBad) {
    // Nobody has asked for it by name, and there is nothing better.
    Result<Deployment> better = whole_instead_of(sysroot, esp.loader(), inventory, target);
    CFS_TRY(check_interrupted());
    const bool is_best = !better && better.error().code == ErrorCode::kNoWayBack;
    if (is_best) options.verdict = Verdict::kStands;
  }
  // `health` says what is wrong with a configuration; going back must not wait for that.
  options.tries = static_cast<unsigned>(read_config(environment).value_or(Config{}).tries);
  CFS_TRY(switch_to(sysroot, esp.loader(), environment, inventory, target, why, options));
  environment.print(describe_next(target) + "\n");
  return next_answer(target);
}

/// For `cancel`: what runs, if something else is chosen, boots next or is staged to.
Result<Deployment> what_runs_instead(const Inventory& inventory, const boot::BootLoader& loader) {
  const References& references = inventory.references;
  const std::optional<Deployment>& booted = references.booted;
  std::optional<boot::NextBoot> next = CFS_TRY(loader.next());
  const std::optional<std::string> chosen = CFS_TRY(loader.chosen());
  auto is_booted = [&](const std::string& id) { return boot::same_entry(id, booted->entry); };
  const bool stays = booted && next && is_booted(next->id) && chosen && is_booted(*chosen);
  if (booted && (references.staged || !stays)) return *booted;
  return as_far_as_readable(inventory, make_error(ErrorCode::kNothingToDo, "no update is staged"));
}

}  // namespace

std::string describe_next(const Deployment& next) {
  return next.name + " " + next.version + " (epoch " + std::to_string(next.epoch) + ") boots next";
}

Answer next_answer(const Deployment& next) {
  return {.json = json::Value::Object{{"schema", 1}, {"next", to_json(next)}}};
}

Result<Deployment> find_installed(const Inventory& inventory, const std::string& name) {
  Deployment found = CFS_TRY(find_deployment(inventory, name));
  if (!found.collected) return found;
  return make_error(ErrorCode::kNotFound, "nothing but the record of " + found.version +
                                              " is left: garbage collection has removed it")
      .with_hint("'cfs-deploy update --retry' fetches the newest release again");
}

Result<Deployment> find_deployment(const Inventory& inventory, const std::string& name) {
  std::vector<Deployment> found;
  for (const Deployment& one : inventory.deployments) {
    if (one.id == name) return one;
    if (!name.empty() && one.id.starts_with(name)) found.push_back(one);
  }
  if (found.size() == 1) return found.front();
  Error error =
      make_error(ErrorCode::kNotFound,
                 found.empty() ? "no deployment has the id '" + name + "'"
                               : "several deployments have ids that begin with '" + name + "'");
  return as_far_as_readable(inventory, std::move(error))
      .with_hint("'cfs-deploy status' shows what is installed, with ids");
}

Result<Deployment> rollback_target(const Inventory& inventory) {
  const References& references = inventory.references;
  bool gives_up_update = references.staged && references.staged->state == DeploymentState::kStaged;
  const std::optional<Deployment>& target =
      gives_up_update ? references.booted : references.previous;
  if (target && (gives_up_update || target->state == DeploymentState::kGood)) return *target;
  return as_far_as_readable(
             inventory,
             make_error(ErrorCode::kNotFound, "there is no earlier good deployment to go back to"))
      .with_hint("'cfs-deploy status' shows what is installed");
}

Result<> check_state_version(const Sysroot& sysroot, const Inventory& inventory,
                             const Deployment& target) {
  const std::optional<Deployment>& booted = inventory.references.booted;
  if (!booted) return {};
  Result<uint64_t> from = state_version(sysroot, *booted);
  Result<uint64_t> to = state_version(sysroot, target);
  CFS_TRY(check_interrupted());
  if (!from || !to || *from <= *to) return {};
  return make_error(ErrorCode::kUnsupported,
                    target.version + " cannot use what " + booted->version +
                        " leaves in /var and /etc: state_version " + std::to_string(*to) +
                        " and not " + std::to_string(*from))
      .with_hint(
          "'--force' goes back all the same; 'cfs-deploy reset' gives it a state of its own");
}

Result<> switch_to(Sysroot& sysroot, boot::BootLoader& loader, const Environment& environment,
                   Inventory& inventory, const Deployment& target, ReasonKind why,
                   SwitchOptions options) {
  const std::optional<Deployment> next = CFS_TRY(next_deployment(loader, inventory));
  const uint64_t now = CFS_TRY(time_of_record(sysroot, inventory, environment));
  const References& references = inventory.references;
  for (const auto* one : {&references.booted, &references.staged, &references.previous, &next}) {
    if (!*one || (*one)->held || (*one)->id == target.id || (*one)->epoch <= target.epoch) continue;
    // What is staged is mostly what boots next.
    if (std::any_of(options.left.begin(), options.left.end(),
                    [&](const Deployment& known) { return known.id == (*one)->id; })) {
      continue;
    }
    Deployment left = **one;
    if (left.state == DeploymentState::kStaged) left.state = DeploymentState::kFetched;
    left.held = Reason{.kind = why, .what = {}, .detail = {}, .exit_status = {}, .when = now};
    options.left.push_back(std::move(left));
  }
  CFS_TRY(boot_next(sysroot, loader, inventory, target, options));
  return {};
}

RunCommand declare_rollback(CLI::App& command) {
  auto arguments = declare(command);
  add_no_way_back_option(command, arguments->no_way_back);
  add_force_option(command, arguments->force);
  add_value(command, "ID", arguments->id, "Where to go back to (default: see above)");
  return [arguments](const Environment& environment) -> Result<Answer> {
    return run_switch(*arguments, environment, ReasonKind::kRolledBack,
                      [&](const Inventory& inventory, const auto&) -> Result<Deployment> {
                        if (arguments->id.empty()) return rollback_target(inventory);
                        return find_installed(inventory, arguments->id);
                      });
  };
}

RunCommand declare_boot(CLI::App& command) {
  auto arguments = declare(command);
  add_no_way_back_option(command, arguments->no_way_back);
  add_force_option(command, arguments->force);
  add_value(command, "ID", arguments->id, "The deployment, as 'status' shows it",
            Presence::kRequired);
  return [arguments](const Environment& environment) -> Result<Answer> {
    return run_switch(*arguments, environment, ReasonKind::kRolledBack,
                      [&](const Inventory& inventory, const auto&) {
                        return find_installed(inventory, arguments->id);
                      });
  };
}

RunCommand declare_cancel(CLI::App& command) {
  auto arguments = declare(command);
  return [arguments](const Environment& environment) -> Result<Answer> {
    return run_switch(*arguments, environment, ReasonKind::kCancelled, what_runs_instead);
  };
}

}  // namespace cfs::deployer
