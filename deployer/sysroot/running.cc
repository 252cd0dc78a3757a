// SPDX-License-Identifier: Apache-2.0
#include "deployer/sysroot/running.h"

#include <algorithm>

#include "lib/base/io.h"
#include "lib/boot/uki.h"
#include "lib/kernel_cmdline/command_line.h"

namespace cfs::deployer {
namespace {

constexpr size_t kMaxProcCommandLineBytes = 64 << 10;

/// The deployment that is running; nothing when it is not one of `inventory`. It has the image that
/// the kernel was given; that is certain. Several deployments may have it: releases that differ in
/// the kernel, or in the version only. Each has a boot entry of its own, so the boot loader's word
/// decides. An entry of another image is one that the boot loader started before a kexec, and says
/// nothing. Without the boot loader's word the deployment that is known to have run is believed to
/// run still: a staged one is not called good on a guess.
std::optional<Deployment> running_deployment(const Inventory& inventory, const Running& running) {
  const References& references = inventory.references;
  std::vector<Deployment> candidates;
  for (const auto* likely : {&references.booted, &references.staged, &references.previous}) {
    if (*likely) candidates.push_back(**likely);
  }
  candidates.insert(candidates.end(), inventory.deployments.begin(), inventory.deployments.end());
  std::erase_if(candidates, [&](const Deployment& one) { return one.digest != running.image; });
  if (candidates.empty()) return std::nullopt;
  auto started = std::find_if(candidates.begin(), candidates.end(), [&](const Deployment& one) {
    return running.entry && boot::same_entry(one.entry, *running.entry);
  });
  return started != candidates.end() ? *started : candidates.front();
}

}  // namespace

Result<std::optional<Running>> running_system(const Environment& environment,
                                              std::optional<std::string> selected) {
  std::string text =
      CFS_TRY(read_file(AT_FDCWD, environment.kernel_command_line, kMaxProcCommandLineBytes));
  while (text.ends_with('\n')) text.pop_back();
  Result<verity::Digest> digest = kernel_cmdline::pinned_digest(text);
  if (!digest && digest.error().code == ErrorCode::kNotFound) return std::nullopt;
  if (!digest) {
    return Error(std::move(digest).error())
        .with("while reading '" + environment.kernel_command_line + "'");
  }
  return Running{.image = *digest, .entry = std::move(selected)};
}

References references_now(const Inventory& inventory, const std::optional<Running>& running) {
  References references = inventory.references;
  if (!running) return references;
  std::optional<Deployment> now = running_deployment(inventory, *running);
  if (!now) return references;  // the running system is not from this sysroot
  now->state = DeploymentState::kGood;
  if (references.booted && references.booted->id != now->id) {
    references.previous = references.booted;
  }
  references.booted = now;
  if (references.staged && references.staged->id == now->id) references.staged.reset();
  return references;
}

Result<Inventory> note_what_booted(Sysroot& sysroot, const Environment& environment,
                                   const boot::BootLoader& loader) {
  Inventory inventory = CFS_TRY(read_inventory(sysroot));
  std::optional<std::string> selected = CFS_TRY(loader.selected());
  std::optional<Running> running = CFS_TRY(running_system(environment, std::move(selected)));
  const References& old = inventory.references;
  References wanted = references_now(inventory, running);
  auto id = [](const std::optional<Deployment>& deployment) {
    return deployment ? deployment->id : std::string();
  };
  // A power cut between any two of these: the next run does the rest.
  if (wanted.previous && id(wanted.previous) != id(old.previous)) {
    CFS_TRY(set_reference(sysroot, Role::kPrevious, *wanted.previous));
  }
  if (wanted.booted && *wanted.booted != old.booted) {
    CFS_TRY(save_deployment(sysroot, *wanted.booted));
    CFS_TRY(set_reference(sysroot, Role::kBooted, *wanted.booted));
    for (Deployment& deployment : inventory.deployments) {
      if (deployment.id == wanted.booted->id) deployment = *wanted.booted;
    }
  }
  if (!wanted.staged && old.staged) CFS_TRY(remove_reference(sysroot, Role::kStaged));
  inventory.references = std::move(wanted);
  return inventory;
}

}  // namespace cfs::deployer
