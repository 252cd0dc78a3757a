// SPDX-License-Identifier: Apache-2.0
#include "deployer/status.h"

#include <sys/sysmacros.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <memory>

#include "deployer/boot_order.h"
#include "deployer/config/config.h"
#include "deployer/login_notice.h"
#include "deployer/options.h"
#include "deployer/reset.h"
#include "deployer/sysroot/etc.h"
#include "deployer/sysroot/running.h"
#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/base/progress.h"
#include "lib/base/utf8.h"
#include "lib/boot/efi_variables.h"
#include "lib/json/canonical.h"
#include "lib/sysroot/layout.h"

namespace cfs::deployer {
namespace {

constexpr size_t kMaxNumberBytes = 64;

/// What the kernel says of the ext4 file system that `fd` is on. 0: another file system, or none.
uint64_t count_file_system_errors(int fd, const std::string& kernel_objects) {
  Result<struct stat> status = fstat_fd(fd);
  if (!status) return 0;
  const std::string device = kernel_objects + "/dev/block/" +
                             std::to_string(major(status->st_dev)) + ":" +
                             std::to_string(minor(status->st_dev));
  std::error_code error;
  const std::string name = std::filesystem::read_symlink(device, error).filename();
  Result<std::string> text =
      read_file(AT_FDCWD, kernel_objects + "/fs/ext4/" + name + "/errors_count", kMaxNumberBytes);
  uint64_t count = 0;
  if (text) std::from_chars(text->data(), text->data() + text->size(), count);
  return count;
}

/// What became of /etc, and what is to become of it and of /var.
Result<> read_state(Status& status, const Sysroot& sysroot) {
  Result<std::vector<std::string>> conflicts = etc_conflicts(sysroot);
  if (!conflicts) status.damaged.push_back({sysroot::kEtc, conflicts.error().describe()});
  if (conflicts) status.etc_conflicts = *std::move(conflicts);
  Result<sysroot::ResetRequest> reset = pending_reset(sysroot);
  if (!reset) status.damaged.push_back({sysroot::kReset, reset.error().describe()});
  if (reset) status.reset = *reset;
  return check_interrupted();
}

/// What boots next, and what if that fails.
Result<> read_next(Status& status, const Inventory& inventory, const Result<MountedEsp>& esp) {
  if (!esp) {
    status.next_problem = esp.error().describe();
    return {};
  }
  status.next = CFS_TRY(esp->loader().next());
  status.unseen_wish = printable_text(CFS_TRY(esp->loader().unseen_wish()));
  if (!status.next) return {};
  status.next_deployment = CFS_TRY(next_deployment(esp->loader(), inventory));
  for (const boot::BootEntry& entry : CFS_TRY(esp->loader().list())) {
    if (boot::same_entry(entry.id, status.next->id)) status.next_tries = entry.tries;
  }
  if (!status.next_deployment) return {};
  if (status.next_tries) {
    status.foreign_fallback = CFS_TRY(
        foreign_fallback(esp->loader(), inventory, {{status.next->id, boot::Tries{.done = 1}}}));
  }
  status.way_back = CFS_TRY(startable_way_back(esp->loader(), inventory, *status.next_deployment));
  if (status.way_back) return {};
  std::vector<Deployment> ways = ways_back(inventory, *status.next_deployment);
  if (!ways.empty()) status.way_back = ways.front();
  return {};
}

/// What the releases take, and what garbage collection would free.
Result<> read_space(Status& status, Sysroot& sysroot, const Environment& environment,
                    const Inventory& inventory, const Result<MountedEsp>& esp) {
  const Config config = read_config(environment).value_or(Config{});  // `health` says what is wrong
  if (esp) {
    Result<Garbage> found = find_garbage(sysroot, esp->loader(), environment, inventory,
                                         {.keep = config.keep, .also = {}});
    CFS_TRY(check_interrupted());
    if (!found) status.collection_problem = printable_text(found.error().describe());
    if (found) status.garbage = *std::move(found);
  } else {
    status.collection_problem = status.next_problem;
  }
  status.space = CFS_TRY(measure_space(sysroot, inventory.deployments, status.damaged));
  if (!esp || !inventory.references.booted) return {};
  Result<> room = check_room_for_another(sysroot, esp->loader(), inventory, status.garbage);
  CFS_TRY(check_interrupted());
  // What is damaged is told elsewhere, and says nothing of room.
  if (!room && !is_damage(room.error())) {
    status.room_problem = printable_text(room.error().describe());
  }
  return {};
}

std::string_view reason_name(boot::NextBoot::Reason reason) {
  switch (reason) {
    case boot::NextBoot::Reason::kChosen:
      return "chosen";
    case boot::NextBoot::Reason::kOneShot:
      return "one-shot";
    case boot::NextBoot::Reason::kFirmwareDefault:
      return "firmware-default";
    case boot::NextBoot::Reason::kFirst:
      break;
  }
  return "first";
}

/// Why that boots next, if it is not what cfs has chosen.
std::string because(boot::NextBoot::Reason reason) {
  switch (reason) {
    case boot::NextBoot::Reason::kChosen:
      return "";
    case boot::NextBoot::Reason::kOneShot:
      return ", once, because the firmware variable LoaderEntryOneShot asks for it";
    case boot::NextBoot::Reason::kFirmwareDefault:
      return ", because the firmware variable LoaderEntryDefault asks for it";
    case boot::NextBoot::Reason::kFirst:
      break;
  }
  return ", because what was chosen is missing or has no tries left";
}

}  // namespace

std::string sentence(const Status& status) {
  std::optional<Deployment> booted;
  if (status.is_running) booted = status.references.booted;
  const std::optional<Deployment>& next = status.next_deployment;
  auto on_trial = [](const Deployment& one) { return one.state != DeploymentState::kGood; };
  const std::string failure = status.failure.empty() ? "" : " " + status.failure + ".";
  std::string text = "Nothing of this sysroot is running";
  if (booted) {
    text = booted->name + " " + booted->version + " is running";
    if (booted->state == DeploymentState::kTrial) text += ", on trial";
    if (booted->state == DeploymentState::kBad) text += ", which is bad";
  }
  if (!status.next_problem.empty()) {
    return text + "; what boots next is not known: " + status.next_problem + "." + failure;
  }
  if (!status.next) return text + "; the boot loader has no entry." + failure;
  bool stays = booted && next && booted->id == next->id;
  text += stays ? booted->state == DeploymentState::kTrial ? ", and boots next" : " and boots next"
                : "; " + (next ? next->version : "'" + status.next->id + "'") + " boots next";
  text += because(status.next->reason);
  if (next && on_trial(*next) && status.next_tries) {
    const unsigned left = status.next_tries->left;
    text += ", with " + std::to_string(left) + (left == 1 ? " try" : " tries") + " left";
    if (!status.foreign_fallback.empty()) {
      text += "; if that fails, '" + status.foreign_fallback + "' boots, which is not of cfs";
    } else if (status.way_back) {
      text += "; if that fails, " + status.way_back->version + " boots";
    }
  }
  if (!status.unseen_wish.empty()) {
    text += ", unless the boot loader has '" + status.unseen_wish +
            "', which the firmware's variables ask for and cfs does not see";
  }
  return text + "." + failure;
}

Result<Status> read_status(Sysroot& sysroot, const Environment& environment,
                           const Result<MountedEsp>& esp) {
  Inventory inventory = CFS_TRY(read_inventory(sysroot));
  std::optional<std::string> selected = CFS_TRY(boot::selected_entry(environment.efi_variables));
  std::optional<Running> running = CFS_TRY(running_system(environment, std::move(selected)));
  inventory.references = references_now(inventory, running);
  if (inventory.references.booted) update_inventory(inventory, *inventory.references.booted);
  Status status{.origin = sysroot.origin(), .references = inventory.references};
  status.is_running = running && running_deployment(inventory, *running);
  CFS_TRY(read_next(status, inventory, esp));
  status.failure = what_failed(inventory);
  status.pinned = inventory.pinned;
  status.damaged = inventory.damaged;
  for (const Loss& loss : sysroot.losses()) {
    if (!loss.is_copy) status.damaged.push_back({loss.path, loss.problem});
  }
  CFS_TRY(read_space(status, sysroot, environment, inventory, esp));
  if (Result<History> history = read_history(sysroot); !history) {
    CFS_TRY(check_interrupted());
    status.damaged.push_back({sysroot::kHistory, history.error().describe()});
  }
  CFS_TRY(read_state(status, sysroot));
  const References& references = status.references;
  for (Deployment& deployment : inventory.deployments) {
    bool has_role = false;
    for (const auto* role :
         {&references.booted, &references.staged, &references.previous, &references.recovery}) {
      has_role = has_role || (*role && (*role)->id == deployment.id);
    }
    if (!has_role) status.others.push_back(std::move(deployment));
  }
  status.file_system_errors =
      count_file_system_errors(sysroot.directory().fd(), environment.kernel_objects);
  return status;
}

std::string to_text(const Status& status) {
  auto line = [&](std::string_view role, const Deployment& deployment) {
    std::string text(role);
    text.resize(10, ' ');
    text += deployment.name + " " + deployment.version + " (epoch " +
            std::to_string(deployment.epoch) + ", " + deployment.channel + ")  " + deployment.id +
            "  " + std::string(state_name(deployment.state));
    if (deployment.held) text += "  held: " + describe(*deployment.held);
    if (std::count(status.pinned.begin(), status.pinned.end(), deployment.id) > 0) {
      text += "  pinned";
    }
    if (deployment.collected) text += "  collected";
    text += "\n          image " + deployment.digest.hex() + "\n";
    auto space = status.space.releases.find(deployment.id);
    if (space == status.space.releases.end()) return text;
    return text + "          " + format_bytes(space->second.bytes) + ", of which " +
           format_bytes(space->second.unique_bytes) + " for it alone\n";
  };
  const References& references = status.references;
  std::string text = sentence(status) + "\norigin    " + status.origin.url.shown() + "  " +
                     status.origin.name + "  " + status.origin.channel + "\n";
  text += references.booted ? line("booted", *references.booted) : "booted    none\n";
  if (references.staged) text += line("staged", *references.staged);
  if (references.previous) text += line("previous", *references.previous);
  if (references.recovery) text += line("recovery", *references.recovery);
  for (const Deployment& deployment : status.others) text += line("other", deployment);
  for (const Damage& damage : status.damaged) {
    text += "damaged   " + damage.path + ": " + damage.problem + "\n";
  }
  for (const std::string& path : status.etc_conflicts) {
    text += "conflict  " + path + ": the release's own is beside it, as " + path +
            std::string(sysroot::kTheirsSuffix) + "\n";
  }
  if (status.reset != sysroot::ResetRequest()) {
    text += "reset     at the next boot, " + describe(status.reset) + "\n";
  }
  if (status.file_system_errors > 0) {
    text += "disk      " + std::to_string(status.file_system_errors) +
            " errors in the file system; the image's e2fsck checks it at the next boot\n";
  }
  const Space& space = status.space;
  text += "space     " + std::to_string(space.objects) + " objects, " + format_bytes(space.bytes) +
          ", of which " + format_bytes(space.shared_bytes) + " for several releases";
  text += status.garbage ? "; 'cfs-deploy gc' frees " + describe_bytes(*status.garbage) + "\n"
                         : "; 'cfs-deploy gc' would refuse: " + status.collection_problem + "\n";
  if (!status.room_problem.empty()) {
    text += "room      another release of this size would not fit: " + status.room_problem + "\n";
  }
  return text;
}

namespace {

json::Value next_to_json(const Status& status) {
  if (!status.next) return {};
  auto id = [](const std::optional<Deployment>& deployment) {
    return deployment ? json::Value(deployment->id) : json::Value();
  };
  return json::Value::Object{
      {"entry", status.next->id},
      {"deployment", id(status.next_deployment)},
      {"reason", reason_name(status.next->reason)},
      {"tries_left",
       status.next_tries ? json::Value(uint64_t{status.next_tries->left}) : json::Value()},
      {"way_back", status.foreign_fallback.empty() ? id(status.way_back) : json::Value()},
      {"unseen_wish",
       status.unseen_wish.empty() ? json::Value() : json::Value(status.unseen_wish)}};
}

json::Value space_to_json(const Status& status) {
  const Space& space = status.space;
  json::Value::Object releases;
  for (const auto& [id, release] : space.releases) {
    releases[id] = json::Value::Object{{"disk_bytes", release.bytes},
                                       {"unique_disk_bytes", release.unique_bytes}};
  }
  return json::Value::Object{
      {"objects", space.objects},
      {"disk_bytes", space.bytes},
      {"shared_disk_bytes", space.shared_bytes},
      {"reclaimable_disk_bytes",
       status.garbage ? json::Value(status.garbage->disk_bytes) : json::Value()},
      {"reclaimable_esp_bytes",
       status.garbage ? json::Value(status.garbage->esp_bytes) : json::Value()},
      {"room_problem",
       status.room_problem.empty() ? json::Value() : json::Value(status.room_problem)},
      {"releases", std::move(releases)}};
}

}  // namespace

json::Value to_json(const Status& status) {
  auto role = [](const std::optional<Deployment>& deployment) {
    return deployment ? to_json(*deployment) : json::Value();
  };
  json::Value::Array others;
  for (const Deployment& deployment : status.others) others.push_back(to_json(deployment));
  json::Value::Array pinned;
  for (const std::string& id : status.pinned) pinned.push_back(id);
  json::Value::Array damaged;
  for (const Damage& damage : status.damaged) {
    damaged.emplace_back(json::Value::Object{{"path", damage.path}, {"problem", damage.problem}});
  }
  json::Value::Array conflicts;
  for (const std::string& path : status.etc_conflicts) conflicts.emplace_back(path);
  return json::Value::Object{
      {"schema", 1},
      {"origin", json::Value::Object{{"url", status.origin.url.shown()},
                                     {"name", status.origin.name},
                                     {"channel", status.origin.channel}}},
      {"booted", role(status.references.booted)},
      {"staged", role(status.references.staged)},
      {"previous", role(status.references.previous)},
      {"recovery", role(status.references.recovery)},
      {"next", next_to_json(status)},
      {"sentence", sentence(status)},
      {"failure", status.failure.empty() ? json::Value() : json::Value(status.failure)},
      {"others", others},
      {"pinned", pinned},
      {"damaged", damaged},
      {"etc_conflicts", conflicts},
      {"reset", json::Value::Object{{"etc", status.reset.etc},
                                    {"identity", status.reset.identity},
                                    {"var", status.reset.var}}},
      {"file_system_errors", status.file_system_errors},
      {"space", space_to_json(status)},
  };
}

RunCommand declare_status(CLI::App& command) {
  struct Arguments {
    std::string sysroot = kDefaultSysroot;
    std::string esp;
  };
  auto arguments = std::make_shared<Arguments>();
  add_sysroot_option(command, arguments->sysroot);
  add_esp_option(command, arguments->esp);
  return [arguments](const Environment& environment) -> Result<Answer> {
    Sysroot sysroot = CFS_TRY(Sysroot::open(environment, arguments->sysroot, Access::kRead));
    Result<MountedEsp> esp = MountedEsp::open(arguments->esp, environment, Access::kRead);
    Status status = CFS_TRY(read_status(sysroot, environment, esp));
    environment.print(to_text(status));
    return Answer{.json = to_json(status)};
  };
}

}  // namespace cfs::deployer
