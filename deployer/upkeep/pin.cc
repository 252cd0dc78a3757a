// SPDX-License-Identifier: Apache-2.0
#include "deployer/upkeep/pin.h"

#include <algorithm>
#include <memory>

#include "deployer/boot_order.h"
#include "deployer/mounted_esp.h"
#include "deployer/options.h"
#include "deployer/rollback.h"
#include "deployer/sysroot/running.h"
#include "lib/sysroot/layout.h"

namespace cfs::deployer {
namespace {

struct Arguments {
  std::string sysroot = kDefaultSysroot;
  std::string esp;
  std::string id;
};

std::shared_ptr<Arguments> declare(CLI::App& command) {
  auto arguments = std::make_shared<Arguments>();
  add_sysroot_option(command, arguments->sysroot);
  add_value(command, "ID", arguments->id, "The deployment, as 'status' shows it",
            Presence::kRequired);
  return arguments;
}

std::string name_of(const Deployment& deployment) {
  return deployment.name + " " + deployment.version + " (epoch " +
         std::to_string(deployment.epoch) + ")";
}

Answer answer(const Deployment& deployment) {
  return {.json = json::Value::Object{{"schema", 1}, {"deployment", to_json(deployment)}}};
}

}  // namespace

Result<> pin(Sysroot& sysroot, const Deployment& deployment) {
  CFS_TRY(check_image_is_complete(sysroot, deployment.digest));
  // An earlier version of cfs-deploy made no copy.
  if (deployment.uki) CFS_TRY(open_uki(sysroot, deployment));
  const Directory& cfs = sysroot.directory();
  CFS_TRY(cfs.make_directories(sysroot::kPinned, sysroot::mode_of(sysroot::kPinned, true)));
  CFS_TRY(cfs.write_symlink(sysroot::pinned_path(deployment.id),
                            sysroot::pinned_target(deployment.id)));
  return cfs.sync(sysroot::kReferences);
}

Result<> unpin(Sysroot& sysroot, const std::string& name) {
  CFS_TRY(sysroot.directory().remove_file(sysroot::pinned_path(name)));
  return sysroot.directory().sync(sysroot::kPinned);
}

Result<> set_recovery(Sysroot& sysroot, boot::BootLoader& loader, const Deployment& deployment) {
  if (deployment.state != DeploymentState::kGood) {
    return make_error(ErrorCode::kInvalidInput,
                      deployment.version + " was not proven good here: it is no recovery yet")
        .with_hint("boot it, and let its health checks pass");
  }
  CFS_TRY(check_image_is_complete(sysroot, deployment.digest));
  UniqueFd uki = CFS_TRY(open_uki(sysroot, deployment));
  CFS_TRY(set_reference(sysroot, Role::kRecovery, deployment));
  // An entry that is damaged or missing is written anew: behind all others, unless it is what boots
  // now or next, or nothing else could boot after that.
  std::optional<unsigned> tries = boot::kParked;
  for (const auto& needed : {CFS_TRY(loader.chosen()), CFS_TRY(loader.selected())}) {
    if (needed && boot::same_entry(*needed, deployment.entry)) tries.reset();
  }
  const Inventory inventory = CFS_TRY(read_inventory(sysroot));
  const std::optional<Deployment> next = CFS_TRY(next_deployment(loader, inventory));
  const std::optional<Deployment> way_back =
      CFS_TRY(startable_way_back(loader, inventory, next.value_or(Deployment())));
  if (!way_back || way_back->state == DeploymentState::kBad) tries.reset();
  const std::optional<boot::NextBoot> before = CFS_TRY(loader.next());
  CFS_TRY(loader.install(deployment.entry, uki.get(), tries));
  // A wish in the firmware's variables that nothing has met before is met by the new entry.
  const std::optional<boot::NextBoot> after = CFS_TRY(loader.next());
  const bool stays = !before || !after || boot::same_entry(before->id, after->id);
  return stays ? Result<>() : loader.set_next(before->id);
}

RunCommand declare_pin(CLI::App& command) {
  auto arguments = declare(command);
  return [arguments](const Environment& environment) -> Result<Answer> {
    Sysroot sysroot = CFS_TRY(Sysroot::open(environment, arguments->sysroot, Access::kWrite));
    Deployment one = CFS_TRY(find_installed(CFS_TRY(read_inventory(sysroot)), arguments->id));
    CFS_TRY(pin(sysroot, one));
    environment.print(name_of(one) + " is pinned\n");
    return answer(one);
  };
}

RunCommand declare_unpin(CLI::App& command) {
  auto arguments = declare(command);
  return [arguments](const Environment& environment) -> Result<Answer> {
    Sysroot sysroot = CFS_TRY(Sysroot::open(environment, arguments->sysroot, Access::kWrite));
    Inventory inventory = CFS_TRY(read_inventory(sysroot));
    auto is_pinned = [&](const std::string& id) {
      return std::count(inventory.pinned.begin(), inventory.pinned.end(), id) > 0;
    };
    Result<Deployment> found = find_deployment(inventory, arguments->id);
    if (!found && is_pinned(arguments->id)) {  // its deployment is gone
      CFS_TRY(unpin(sysroot, arguments->id));
      environment.print(arguments->id + " is pinned no more\n");
      return Answer{.json = json::Value::Object{{"schema", 1}, {"deployment", json::Value()}}};
    }
    const Deployment one = CFS_TRY(std::move(found));
    if (!is_pinned(one.id)) {
      return as_far_as_readable(
          inventory, make_error(ErrorCode::kNothingToDo, name_of(one) + " is not pinned"));
    }
    CFS_TRY(unpin(sysroot, one.id));
    environment.print(name_of(one) + " is pinned no more\n");
    return answer(one);
  };
}

RunCommand declare_recovery(CLI::App& command) {
  struct RecoveryArguments : Arguments {
    std::string action;
  };
  auto arguments = std::make_shared<RecoveryArguments>();
  add_sysroot_option(command, arguments->sysroot);
  add_esp_option(command, arguments->esp);
  add_choice(command, "action", arguments->action,
             "set: keep ID for when nothing else boots. clear: keep none", {"set", "clear"});
  add_value(command, "ID", arguments->id, "The deployment, as 'status' shows it");
  return [arguments](const Environment& environment) -> Result<Answer> {
    const bool is_set = arguments->action == "set";
    if (is_set == arguments->id.empty()) {
      return make_error(ErrorCode::kUsage, is_set ? "which deployment is to be the recovery?"
                                                  : "'recovery clear' takes no ID")
          .with_hint("'cfs-deploy status' shows what is installed, with ids");
    }
    Sysroot sysroot = CFS_TRY(Sysroot::open(environment, arguments->sysroot, Access::kWrite));
    MountedEsp esp = CFS_TRY(MountedEsp::open(arguments->esp, environment, Access::kWrite));
    Inventory inventory = CFS_TRY(note_what_booted(sysroot, environment, esp.loader()));
    if (!is_set) {
      if (!inventory.references.recovery) {
        return as_far_as_readable(inventory,
                                  make_error(ErrorCode::kNothingToDo, "there is no recovery"));
      }
      CFS_TRY(remove_reference(sysroot, Role::kRecovery));
      environment.print("there is no recovery any more\n");
      return answer(*inventory.references.recovery);
    }
    Deployment one = CFS_TRY(find_installed(inventory, arguments->id));
    CFS_TRY(set_recovery(sysroot, esp.loader(), one));
    environment.print(name_of(one) + " boots when nothing else does\n");
    return answer(one);
  };
}

}  // namespace cfs::deployer
