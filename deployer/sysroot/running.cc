// SPDX-License-Identifier: Apache-2.0
#include "deployer/sysroot/running.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "deployer/boot_order.h"
#include "deployer/sysroot/boot_evidence.h"
#include "deployer/sysroot/known_time.h"
#include "deployer/sysroot/lost_record.h"
#include "deployer/systemctl.h"
#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/boot/efi_variables.h"
#include "lib/boot/uki.h"
#include "lib/kernel_cmdline/command_line.h"

namespace cfs::deployer {
namespace {

constexpr size_t kMaxProcCommandLineBytes = 64 << 10;

constexpr size_t kMaxLineBytes = 256;

Result<std::string> read_line(const std::string& path) {
  std::string text = CFS_TRY(read_file(AT_FDCWD, path, kMaxLineBytes));
  while (text.ends_with('\n')) text.pop_back();
  return text;
}

/// By the type of boot loader that started the kernel, where the kernel tells one (x86). kexec,
/// from user space or in the kernel, calls itself 13. Spec: Linux, x86/boot.rst, type_of_loader.
Result<bool> is_cold_boot(const std::string& path) {
  constexpr unsigned kKexec = 13;
  Result<std::string> text = read_line(path);
  if (!text && text.error().code == ErrorCode::kNotFound) return true;
  unsigned type = 0;
  const std::string line = CFS_TRY(std::move(text));
  auto [end, failure] = std::from_chars(line.data(), line.data() + line.size(), type);
  if (failure != std::errc()) {
    return make_error(ErrorCode::kCorrupt, "'" + path + "' is not a number");
  }
  return type >> 4 != kKexec;
}

}  // namespace

// It has the image that the kernel was given; that is certain. Several deployments may have it:
// releases that differ in the kernel, or in the version only. Each has a boot entry of its own, so
// the boot loader's word decides, also if it names one whose record is lost. An entry of another
// image is one that the boot loader started before a kexec, and says nothing. Without the boot
// loader's word the deployment that is known to have run is believed to run still: a staged one is
// not called good on a guess.
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
  if (started != candidates.end()) return *started;
  const std::string named = running.entry ? boot::deployment_of_entry(*running.entry) : "";
  if (is_deployment_id(named) &&
      running.image.hex().starts_with(named.substr(0, named.find('.')))) {
    return std::nullopt;
  }
  return candidates.front();
}

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
  Running running{.image = *digest, .entry = std::move(selected), .boot_id = {}};
  running.boot_id = CFS_TRY(read_line(environment.kernel_settings + "/random/boot_id"));
  running.is_cold = CFS_TRY(is_cold_boot(environment.kernel_settings + "/bootloader_type"));
  return running;
}

Result<bool> is_soft_reboot(const Environment& environment) {
  const std::string systemd_runs = environment.run + "/systemd/system";
  if (::access(systemd_runs.c_str(), F_OK) != 0) return false;  // Spec: sd_booted(3)
  const std::string count =
      CFS_TRY(systemctl(environment, {"show", "--property=SoftRebootsCount", "--value"}));
  return count.find_first_of("123456789") != std::string::npos;
}

References references_now(const Inventory& inventory, const std::optional<Running>& running) {
  References references = inventory.references;
  if (!running) return references;
  std::optional<Deployment> now = running_deployment(inventory, *running);
  if (!now) return references;  // the running system is not from this sysroot
  bool is_first_time =
      now->state == DeploymentState::kStaged || now->state == DeploymentState::kFetched;
  if (is_first_time) now->state = DeploymentState::kTrial;
  const std::optional<Deployment>& last = references.booted;
  if (last && last->id != now->id && last->state == DeploymentState::kGood) {
    references.previous = last;
  }
  if (references.previous &&
      (references.previous->id == now->id || references.previous->collected ||
       references.previous->state != DeploymentState::kGood)) {
    references.previous.reset();
    for (const Deployment& one : inventory.deployments) {
      if (one.state != DeploymentState::kGood || one.collected || one.id == now->id) continue;
      if (!references.previous || one.blessed > references.previous->blessed) {
        references.previous = one;
      }
    }
  }
  // Somebody started another one in the middle of a trial.
  if (last && last->id != now->id && last->state == DeploymentState::kTrial && !references.staged) {
    references.staged = last;
  }
  references.booted = now;
  if (references.staged && references.staged->id == now->id) references.staged.reset();
  return references;
}

Result<Inventory> inventory_now(const Sysroot& sysroot, const Environment& environment,
                                std::optional<std::string> selected) {
  Inventory inventory = CFS_TRY(read_inventory(sysroot));
  inventory.references =
      references_now(inventory, CFS_TRY(running_system(environment, std::move(selected))));
  return inventory;
}

namespace {

/// What there is to note, and where.
struct Note {
  Sysroot& sysroot;
  const Environment& environment;
  boot::BootLoader& loader;
  Inventory inventory;
  uint64_t time = 0;  ///< of what is recorded

  /// Saves the record of a deployment, wherever the inventory has a copy of it.
  Result<> save(const Deployment& changed) {
    CFS_TRY(save_deployment(sysroot, changed));
    update_inventory(inventory, changed);
    return {};
  }
};

/// How the last boot in the history ended, unless that is written down.
Result<> note_how_it_ended(Note& note, History& history, const std::string& boot_id) {
  if (history.empty()) return {};
  Boot& last = history.back();
  if (last.boot_id == boot_id || last.outcome != BootOutcome::kRunning) return {};
  const Inventory& inventory = note.inventory;
  auto found = std::find_if(inventory.deployments.begin(), inventory.deployments.end(),
                            [&](const Deployment& one) { return one.id == last.deployment; });
  if (found == inventory.deployments.end() || found->state == DeploymentState::kGood) {
    last.outcome = BootOutcome::kEnded;
    return {};
  }
  last.outcome = BootOutcome::kFailed;
  last.reason = CFS_TRY(evidence_of_failure(note.sysroot, note.environment, found->digest, true));
  last.reason->when = note.time;
  return {};
}

/// A deployment does not boot, and is not what runs: it is bad, for what it left behind, or, when
/// it was on trial, for the last reason that is known.
Result<> note_failure(Note& note, History& history, Deployment failed) {
  std::optional<Reason> reason;
  for (const Boot& boot : history) {
    if (boot.deployment != failed.id || failed.state == DeploymentState::kGood) continue;
    if (boot.reason || boot.outcome == BootOutcome::kHealthy) reason = boot.reason;
  }
  if (!reason) {
    reason = CFS_TRY(evidence_of_failure(note.sysroot, note.environment, failed.digest, false));
    reason->when = note.time;
    history.push_back({.boot_id = "",
                       .deployment = failed.id,
                       .version = failed.version,
                       .started = 0,
                       .outcome = BootOutcome::kFailed,
                       .reason = reason});
  }
  failed.state = DeploymentState::kBad;
  failed.held = std::move(reason);
  return note.save(failed);
}

/// Another one may have been started in the middle of a trial, whatever the references say. And
/// what the boot loader does not count, a good one or any where it cannot, is left by
/// cfs-mount-root when it does not boot.
Result<> note_failures(Note& note, History& history) {
  const std::vector<boot::BootEntry> entries = CFS_TRY(note.loader.list());
  const std::string booted = note.inventory.references.booted->id;
  const std::vector<std::string> early = CFS_TRY(given_up_early(note.sysroot, booted));
  const std::vector<Deployment> deployments = note.inventory.deployments;
  for (const Deployment& one : deployments) {
    if (booted == one.id) continue;
    const bool is_tried =
        one.state == DeploymentState::kStaged || one.state == DeploymentState::kTrial;
    if (!is_tried && one.state != DeploymentState::kGood) continue;
    const bool is_given_up =
        std::any_of(entries.begin(), entries.end(), [&](const boot::BootEntry& entry) {
          return is_tried && entry.is_used_up() && boot::same_entry(entry.id, one.entry);
        });
    const bool is_left = std::find(early.begin(), early.end(), one.id) != early.end();
    if (is_given_up || is_left) CFS_TRY(note_failure(note, history, one));
  }
  return {};
}

/// Chooses what runs in the place of `bad`, or, if that is bad too, what is whole, or what runs all
/// the same if it was proven good once. If nothing is, or the entry is missing or damaged, the bad
/// one is better than none, until `fsck --repair` has mended something.
Result<> choose_instead_of(Note& note, const Deployment& bad) {
  const Deployment booted = *note.inventory.references.booted;
  auto choose = [&]() -> Result<> {
    if (booted.state == DeploymentState::kBad) {
      Result<Deployment> other = whole_instead_of(note.sysroot, note.loader, note.inventory, bad);
      const bool stays = !other && other.error().code == ErrorCode::kNoWayBack &&
                         booted.id != bad.id && booted.blessed > 0;
      if (!stays) {
        CFS_TRY(boot_next(note.sysroot, note.loader, note.inventory, CFS_TRY(std::move(other)),
                          {.way_back = WayBack::kNotRequired}));
        return {};
      }
    }
    CFS_TRY(note.loader.set_next(booted.entry));
    // What was chosen does not wait behind the entries of other systems; a trial has the tries that
    // it has.
    return has_proven_good(booted) ? end_trial(note.loader, booted) : Result<>();
  };
  Result<> chosen = choose();
  const bool stays =
      !chosen && (is_damage(chosen.error()) || chosen.error().code == ErrorCode::kNoWayBack ||
                  chosen.error().code == ErrorCode::kNoSpace);
  return stays ? Result<>() : chosen;
}

/// A bad deployment is neither staged nor chosen while there is another. Nor is one chosen that was
/// never proven good and that somebody has turned away from, in a switch that was cut off, unless
/// it runs.
Result<> turn_away_from_bad(Note& note) {
  References& references = note.inventory.references;
  auto is_bad = [](const std::optional<Deployment>& one) {
    return one && one->state == DeploymentState::kBad;
  };
  std::optional<Deployment> chosen;
  if (const std::optional<std::string> entry = CFS_TRY(note.loader.chosen())) {
    for (const Deployment& one : note.inventory.deployments) {
      if (boot::same_entry(*entry, one.entry)) chosen = one;
    }
  }
  const bool is_left = chosen && chosen->held && chosen->state != DeploymentState::kGood &&
                       chosen->id != references.booted->id;
  // A wish in the firmware's variables may go before the choice.
  if (!is_bad(chosen) && !is_left) chosen = CFS_TRY(next_deployment(note.loader, note.inventory));
  if (is_bad(chosen) || is_left) CFS_TRY(choose_instead_of(note, *chosen));
  if (is_bad(references.staged)) {
    CFS_TRY(remove_reference(note.sysroot, Role::kStaged));
    references.staged.reset();
  }
  return {};
}

/// References and the running deployment's state.
Result<> note_references(Note& note, const References& wanted) {
  const References old = note.inventory.references;
  auto id = [](const std::optional<Deployment>& deployment) {
    return deployment ? deployment->id : std::string();
  };
  // A power cut between any two of these: the next run does the rest. That a trial was left is not
  // seen any more once what runs is written down, so it comes before.
  if (wanted.staged && id(wanted.staged) != id(old.staged)) {
    CFS_TRY(set_reference(note.sysroot, Role::kStaged, *wanted.staged));
  }
  if (id(wanted.previous) != id(old.previous)) {
    CFS_TRY(wanted.previous ? set_reference(note.sysroot, Role::kPrevious, *wanted.previous)
                            : remove_reference(note.sysroot, Role::kPrevious));
  }
  if (wanted.booted && *wanted.booted != old.booted) {
    CFS_TRY(note.save(*wanted.booted));
    CFS_TRY(set_reference(note.sysroot, Role::kBooted, *wanted.booted));
  }
  if (!wanted.staged && old.staged) CFS_TRY(remove_reference(note.sysroot, Role::kStaged));
  note.inventory.references = wanted;
  return {};
}

/// A trial is counted by the boot loader, which then says so. Where it cannot, since the firmware
/// does not rename files, each boot that gets this far is counted here.
Result<> count_boot(Note& note, const Running& running) {
  const Deployment& booted = *note.inventory.references.booted;
  if (booted.state != DeploymentState::kTrial || !running.is_cold || !running.entry) return {};
  if (CFS_TRY(boot::is_counted_boot(note.environment.efi_variables))) return {};
  if (!boot::same_entry(booted.entry, *running.entry)) return {};
  Result<> counted = note.loader.count_boot(booted.entry);
  const bool is_gone = !counted && counted.error().code == ErrorCode::kNotFound;
  return is_gone ? Result<>() : counted;
}

/// count_boot(), once a boot, whatever becomes of the history.
Result<> count_boot_once(Note& note, const Running& running) {
  const std::string directory = note.environment.run + "/cfs";
  const std::string path = directory + "/counted-boot";
  if (read_line(path).value_or("") == running.boot_id) return {};
  CFS_TRY(check_interrupted());
  CFS_TRY(count_boot(note, running));
  CFS_TRY(make_directories(AT_FDCWD, directory));
  return write_file_atomically(AT_FDCWD, path, as_bytes(running.boot_id + "\n"));
}

/// The good deployment that runs has no counter: a power cut came between the record and the entry.
Result<> end_trial_of_good(Note& note) {
  const std::optional<Deployment>& booted = note.inventory.references.booted;
  if (!booted || booted->state != DeploymentState::kGood) return {};
  const std::optional<std::string> chosen = CFS_TRY(note.loader.chosen());
  if (!chosen || !boot::same_entry(*chosen, booted->entry)) return {};
  return CFS_TRY(has_whole_entry(note.loader, *booted)) ? end_trial(note.loader, *booted)
                                                        : Result<>();
}

/// The running deployment's record is lost or cannot be read: it is made again, if it is clear
/// which one runs, and its release is still known.
Result<> restore_record(Note& note, const Running& running) {
  if (!running.entry) return {};
  const std::string id = boot::deployment_of_entry(*running.entry);
  Result<Deployment> lost = lost_record(note.sysroot, id, DeploymentState::kTrial);
  if (!lost && is_damage(lost.error())) return {};
  const Deployment record = CFS_TRY(std::move(lost));
  if (record.digest != running.image || !boot::same_entry(record.entry, *running.entry)) return {};
  CFS_TRY(save_deployment(note.sysroot, record));
  note.inventory = CFS_TRY(read_inventory(note.sysroot));
  note.environment.print("the record of " + id + ", which runs, was lost and is made again\n");
  return {};
}

Boot boot_of(const Running& running, const Deployment& booted, uint64_t time) {
  return {.boot_id = running.boot_id,
          .deployment = booted.id,
          .version = booted.version,
          .started = time,
          .outcome = BootOutcome::kRunning,
          .reason = {}};
}

}  // namespace

Result<Inventory> note_what_booted(Sysroot& sysroot, const Environment& environment,
                                   boot::BootLoader& loader) {
  Note note{.sysroot = sysroot,
            .environment = environment,
            .loader = loader,
            .inventory = CFS_TRY(read_inventory(sysroot))};
  std::optional<Running> running = CFS_TRY(running_system(environment, CFS_TRY(loader.selected())));
  if (!running) return std::move(note.inventory);
  if (!running_deployment(note.inventory, *running)) CFS_TRY(restore_record(note, *running));
  if (!running_deployment(note.inventory, *running)) return std::move(note.inventory);

  History history = CFS_TRY(read_history_to_go_on(sysroot));
  bool is_new_boot = history.empty() || history.back().boot_id != running->boot_id;
  if (is_new_boot) {
    note.time = CFS_TRY(time_of_record(sysroot, note.inventory, environment));
    CFS_TRY(note_how_it_ended(note, history, running->boot_id));
  }
  CFS_TRY(note_references(note, references_now(note.inventory, running)));
  if (is_new_boot) {
    CFS_TRY(note_failures(note, history));
    history.push_back(boot_of(*running, *note.inventory.references.booted, note.time));
    CFS_TRY(save_history(sysroot, history));
    CFS_TRY(forget_boot_failure(sysroot));
  }
  CFS_TRY(count_boot_once(note, *running));
  CFS_TRY(turn_away_from_bad(note));
  CFS_TRY(end_trial_of_good(note));
  if (is_new_boot) CFS_TRY(tidy_up_entries(note.sysroot, note.loader, note.inventory));
  return std::move(note.inventory);
}

Result<> record_outcome(Sysroot& sysroot, const Environment& environment, const Deployment& booted,
                        BootOutcome outcome, std::optional<Reason> reason) {
  std::optional<Running> running = CFS_TRY(running_system(environment, std::nullopt));
  if (!running) {
    return make_error(ErrorCode::kNotFound, "the running system is not one of this sysroot");
  }
  History history = CFS_TRY(read_history_to_go_on(sysroot));
  if (history.empty() || history.back().boot_id != running->boot_id) {
    const Inventory inventory = CFS_TRY(read_inventory(sysroot));
    const uint64_t time = CFS_TRY(time_of_record(sysroot, inventory, environment));
    history.push_back(boot_of(*running, booted, time));
  }
  history.back().outcome = outcome;
  history.back().reason = std::move(reason);
  return save_history(sysroot, history);
}

}  // namespace cfs::deployer
