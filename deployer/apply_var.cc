// SPDX-License-Identifier: Apache-2.0
#include "deployer/apply_var.h"

#include <memory>

#include "deployer/options.h"
#include "deployer/sysroot/running.h"
#include "deployer/var/deliver.h"

namespace cfs::deployer {
namespace {

constexpr size_t kPathsShown = 20;

std::string to_text(const VarDelivery& delivery) {
  std::string text;
  if (delivery.damage) {
    text += "the record of earlier releases cannot be used: " + delivery.damage->describe() +
            "; what is not as this release has it is left alone\n";
  }
  text += "/var: " + std::to_string(delivery.added) + " new, " + std::to_string(delivery.replaced) +
          " replaced, " + std::to_string(delivery.removed) + " removed\n";
  if (delivery.kept.empty()) return text;
  text += std::to_string(delivery.kept.size()) + " stay as this device has them:";
  for (size_t i = 0; i < delivery.kept.size() && i < kPathsShown; ++i) {
    text += " /var/" + delivery.kept[i];
  }
  return text + (delivery.kept.size() > kPathsShown ? " …\n" : "\n");
}

}  // namespace

RunCommand declare_apply_var(CLI::App& command) {
  auto path = std::make_shared<std::string>(kDefaultSysroot);
  add_sysroot_option(command, *path);
  return [path](const Environment& environment) -> Result<Answer> {
    std::optional<Running> running = CFS_TRY(running_system(environment, std::nullopt));
    if (!running) {
      return make_error(ErrorCode::kNotFound, "this system was not booted from an image of cfs");
    }
    Sysroot sysroot = CFS_TRY(Sysroot::open(environment, *path, Access::kWrite));
    environment.print(
        to_text(CFS_TRY(deliver_var(sysroot.directory(), environment.root, running->image))));
    return Answer();
  };
}

}  // namespace cfs::deployer
