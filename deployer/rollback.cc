// SPDX-License-Identifier: Apache-2.0
#include "deployer/rollback.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "deployer/activate.h"
#include "deployer/mounted_esp.h"
#include "deployer/options.h"
#include "deployer/sysroot/running.h"

namespace cfs::deployer {

Result<Deployment> roll_back(Sysroot& sysroot, boot::BootLoader& loader,
                             const Inventory& inventory) {
  const References& references = inventory.references;
  bool gives_up_update = references.staged && references.staged->state == DeploymentState::kStaged;
  const std::optional<Deployment>& target =
      gives_up_update ? references.booted : references.previous;
  if (!target || target->state != DeploymentState::kGood) {
    return make_error(ErrorCode::kNotFound, "there is no earlier good deployment to go back to")
        .with_hint("'cfs-deploy status' shows what is installed");
  }
  CFS_TRY(check_image_is_complete(sysroot, target->digest));
  if (!CFS_TRY(has_whole_entry(loader, *target))) {
    Result<> put_back = install_entry(sysroot, loader, *target);
    if (!put_back) {
      return Error(std::move(put_back).error())
          .with("while putting back the boot entry '" + target->entry + "' of " + target->version +
                ", which is missing or damaged");
    }
  }
  if (!gives_up_update) CFS_TRY(set_reference(sysroot, Role::kStaged, *target));
  CFS_TRY_WITH("while choosing the boot entry", loader.set_next(target->entry));
  if (gives_up_update) CFS_TRY(remove_reference(sysroot, Role::kStaged));
  return *target;
}

RunCommand declare_rollback(CLI::App& command) {
  struct Arguments {
    std::string sysroot = kDefaultSysroot;
    std::string esp;
  };
  auto arguments = std::make_shared<Arguments>();
  add_sysroot_option(command, arguments->sysroot);
  add_esp_option(command, arguments->esp);
  return [arguments](const Environment& environment) -> Result<int> {
    Sysroot sysroot = CFS_TRY(Sysroot::open(environment, arguments->sysroot, Access::kWrite));
    MountedEsp esp = CFS_TRY(MountedEsp::open(arguments->esp, environment));
    Inventory inventory = CFS_TRY(note_what_booted(sysroot, environment, esp.loader()));
    Deployment next = CFS_TRY(roll_back(sysroot, esp.loader(), inventory));
    environment.print(next.name + " " + next.version + " (epoch " + std::to_string(next.epoch) +
                      ") boots next\n");
    return 0;
  };
}

}  // namespace cfs::deployer
