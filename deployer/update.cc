// SPDX-License-Identifier: Apache-2.0
#include "deployer/update.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "deployer/activate.h"
#include "deployer/config/schedule.h"
#include "deployer/fetch/repository.h"
#include "deployer/mounted_esp.h"
#include "deployer/options.h"
#include "deployer/sysroot/board.h"
#include "deployer/sysroot/etc.h"
#include "deployer/sysroot/running.h"
#include "deployer/sysroot/var.h"
#include "deployer/trial.h"
#include "lib/base/free_space.h"
#include "lib/base/interrupt.h"
#include "lib/base/progress.h"
#include "lib/sysroot/layout.h"
#include "lib/trust/client.h"
#include "lib/trust/releases.h"

namespace cfs::deployer {
namespace {

/// The one that boots next, and the way back.
constexpr size_t kEntriesKept = 2;

std::string named(std::string_view version, uint64_t epoch) {
  return std::string(version) + " (epoch " + std::to_string(epoch) + ")";
}

/// The clock, unless it is earlier than an installed release was made: then that time, for a device
/// without a battery must not take expired metadata for fresh.
Result<UnixTime> believable_time(const Sysroot& sysroot, const Inventory& inventory,
                                 const Environment& environment) {
  const UnixTime clock = environment.now();
  UnixTime latest = clock;
  for (const Deployment& deployment : inventory.deployments) {
    Result<std::string> text = sysroot.directory().read_file(
        sysroot::description_path(deployment.digest), release::kMaxDescriptionBytes);
    CFS_TRY(check_interrupted());
    if (!text) continue;  // of no use for this then
    Result<release::ReleaseDescription> description = release::parse_description(*text);
    if (description) latest = std::max(latest, static_cast<UnixTime>(description->created));
  }
  if (latest != clock) {
    environment.print("the clock says " + format_time(std::max<UnixTime>(clock, 0)) +
                      ", but an installed release was made later: it is taken to be " +
                      format_time(latest) + "\n");
  }
  return latest;
}

/// trust::refresh(), with a hint when the repository is not signed by the keys of the trusted root.
Result<trust::Verified<trust::Targets>> refresh(trust::MetadataStore& trusted,
                                                const trust::Fetch& fetch, UnixTime now,
                                                const net::Url& url) {
  Result<trust::Verified<trust::Targets>> targets = trust::refresh(trusted, fetch, now);
  if (targets || targets.error().code != ErrorCode::kSignature) return targets;
  Error error = std::move(targets).error();
  if (error.hint.empty()) {
    error.hint = "'" + url.shown() +
                 "' is another repository than that of the trusted root (--root of 'cfs-deploy "
                 "init' or 'install'), or somebody without its keys has changed it";
  }
  return error;
}

/// Releases never go back by an update, even if the metadata is signed and fresh: a signer who
/// offers less than what is installed made a mistake, or is not the signer. After a change of the
/// keys that sign targets epochs are counted anew: what a stolen key drove up must not outlive it.
Result<> refuse_older(const Inventory& inventory, const trust::Verified<trust::Targets>& targets,
                      const trust::ReleaseTarget& newest) {
  for (const Deployment& deployment : inventory.deployments) {
    if (deployment.name != newest.name || deployment.channel != newest.channel) continue;
    if (deployment.epoch <= newest.epoch) continue;
    if (deployment.targets_keys.value_or(targets->targets_keys) != targets->targets_keys) continue;
    return make_error(ErrorCode::kRollback, "the newest release on offer, " +
                                                named(newest.version, newest.epoch) +
                                                ", is older than the installed " +
                                                named(deployment.version, deployment.epoch))
        .with_hint(
            "to withdraw a release publish its predecessor again with a higher epoch; on this "
            "device alone use 'cfs-deploy rollback'");
  }
  return {};
}

/// Nothing when the deployment boots next and has all it needs; otherwise what it lacks, in words.
Result<std::optional<std::string>> what_is_missing(Sysroot& sysroot, const boot::BootLoader& loader,
                                                   const Deployment& deployment,
                                                   const release::ReleaseFile& uki) {
  std::optional<std::string> missing;
  if (!CFS_TRY(boots_next(loader, deployment))) return missing = "it does not boot next";
  const std::string path = sysroot::uki_path(deployment.digest, uki.sha256);
  if (deployment.uki && !CFS_TRY(file_is_there(uki, sysroot.directory(), path))) {
    return missing = "the copy of its UKI is missing or damaged";
  }
  Result<> complete = check_image_is_complete(sysroot, deployment.digest);
  if (complete) return missing;
  switch (complete.error().code) {
    case ErrorCode::kNotFound:
    case ErrorCode::kDigestMismatch:
    case ErrorCode::kNoVerity:
    case ErrorCode::kCorrupt:
      return missing = complete.error().describe();
    default:
      return std::move(complete).error();
  }
}

Result<> check_room_on_device(const Sysroot& sysroot, boot::BootLoader& loader,
                              const Inventory& inventory, const Deployment& deployment,
                              const Plan& plan, uint64_t uki_bytes) {
  CFS_TRY(require_space(sysroot.directory().fd(), "the sysroot", plan.disk_bytes + kMarginBytes,
                        plan.inodes + kMarginInodes));
  if (CFS_TRY(has_whole_entry(loader, deployment))) return {};
  if (CFS_TRY(loader.free_bytes()) < uki_bytes) {
    std::vector<std::string> needed = {deployment.entry};
    for (const Deployment& one : ways_back(inventory, deployment)) needed.push_back(one.entry);
    needed.resize(std::min(needed.size(), kEntriesKept));
    CFS_TRY(remove_unneeded_entries(sysroot, loader, inventory, needed));
  }
  FileSystemSpace esp;
  esp.free_bytes = CFS_TRY(loader.free_bytes());
  return require_space(esp, "the EFI system partition", uki_bytes);
}

}  // namespace

namespace {

/// update() from one repository.
Result<UpdateResult> update_from(const net::Url& url, Sysroot& sysroot, boot::BootLoader& loader,
                                 const Environment& environment, const UpdateOptions& options) {
  Inventory installed = CFS_TRY(note_what_booted(sysroot, environment, loader));
  const UnixTime now = CFS_TRY(believable_time(sysroot, installed, environment));
  Origin origin = sysroot.origin();
  if (!options.channel.empty()) origin.channel = options.channel;
  Repository repository = CFS_TRY(Repository::open(url, environment.network));
  trust::Fetch fetch = repository.metadata();
  trust::MetadataDirectory trusted = CFS_TRY(sysroot.trust_store());
  trust::Verified<trust::Targets> targets = CFS_TRY(refresh(trusted, fetch, now, url));
  trust::ReleaseTarget newest =
      CFS_TRY(trust::find_newest_release(trusted, fetch, targets, origin.name, origin.channel));
  CFS_TRY(refuse_older(installed, targets, newest));
  trust::Verified<release::ReleaseDescription> description =
      CFS_TRY(trust::fetch_release(targets, newest.target, fetch));
  CFS_TRY(check_compatible(*description, CFS_TRY(read_board(sysroot.directory()))));
  const verity::Digest& digest = description->image.digest;
  const release::ReleaseFile* uki = description->file_with_role("uki");
  if (uki == nullptr) {
    return make_error(ErrorCode::kCorrupt, "release '" + newest.version + "' has no UKI");
  }

  const References& references = installed.references;
  for (const Deployment& one : installed.deployments) {
    if (!one.held || options.retry || one.digest != digest || one.epoch != newest.epoch) continue;
    environment.print("held: " + origin.name + " " + named(one.version, one.epoch) + ", " +
                      describe(*one.held) + "; 'cfs-deploy update --retry' takes it again\n");
    return UpdateResult{.staged = {}, .up_to_date = true};
  }
  const std::optional<Deployment>& current =
      references.staged ? references.staged : references.booted;
  if (current && current->digest == digest && current->epoch == newest.epoch) {
    std::optional<std::string> missing = CFS_TRY(what_is_missing(sysroot, loader, *current, *uki));
    if (!missing) {
      environment.print("up to date: " + origin.name + " " + named(newest.version, newest.epoch) +
                        "\n");
      return UpdateResult{.staged = {}, .up_to_date = true};
    }
    environment.print("incomplete: " + named(newest.version, newest.epoch) + ", " + *missing +
                      "\n");
  }

  trust::Verified<transport::Manifest> manifest =
      CFS_TRY(trust::fetch_transport(description, fetch));
  Plan plan = CFS_TRY(make_plan(manifest, sysroot.objects()));
  const Directory& cfs = sysroot.directory();
  const std::string uki_path = sysroot::uki_path(digest, uki->sha256);
  bool uki_is_missing = !CFS_TRY(file_is_there(*uki, cfs, uki_path));
  if (uki_is_missing) {
    plan.fetch_bytes += uki->size_bytes;
    plan.disk_bytes += align_up(uki->size_bytes, 4096);
  }
  size_t files = plan.objects.size() + (plan.image ? 1 : 0) + (uki_is_missing ? 1 : 0);
  environment.print(
      origin.name + " " + origin.channel + ": " +
      (current ? named(current->version, current->epoch) + " -> " : std::string("new: ")) +
      named(newest.version, newest.epoch) + "\nto fetch: " + format_bytes(plan.fetch_bytes) +
      " in " + std::to_string(files) + " files (the release has " +
      std::to_string(manifest->objects.size()) + " objects); needs " +
      format_bytes(plan.disk_bytes) + " on disk\n");
  if (options.check_only) return UpdateResult{};

  uint64_t time_of_record = options.purpose == Purpose::kDevice
                                ? static_cast<uint64_t>(std::max<UnixTime>(now, 0))
                                : description->created;
  Deployment deployment = CFS_TRY(deployment_for(sysroot, installed, *description, time_of_record));
  deployment.targets_keys = targets->targets_keys;
  CFS_TRY(sysroot.require_verity());
  CFS_TRY(options.check_room ? options.check_room(plan, uki->size_bytes)
                             : check_room_on_device(sysroot, loader, installed, deployment, plan,
                                                    uki->size_bytes));

  {
    Progress progress("fetching", plan.fetch_bytes);
    const std::string directory = sysroot::release_directory(digest);
    CFS_TRY(cfs.make_directories(directory, sysroot::mode_of(directory, true)));
    if (uki_is_missing) CFS_TRY(repository.fetch_file(*uki, cfs, uki_path, progress));
    CFS_TRY(repository.fetch_objects(plan.objects, sysroot.objects(), progress));
    if (plan.image) {
      CFS_TRY(repository.fetch_objects(std::span(&*plan.image, 1), sysroot.objects(), progress));
    }
  }
  if (options.purpose == Purpose::kDevice) {
    CFS_TRY(fill_var(sysroot, digest));
    CFS_TRY(forget_etc(sysroot, digest));
  }
  Deployment staged = CFS_TRY(
      activate(sysroot, loader, installed, description, std::move(deployment), options.switching));
  environment.print("staged " + named(staged.version, staged.epoch) + ": " + staged.entry +
                    " boots next\n");
  return UpdateResult{.staged = std::move(staged)};
}

/// What `update --unattended` does after it has updated: restarts the machine into what waits, if
/// the configuration allows it now.
Result<> restart_if_it_is_time(const Sysroot& sysroot, const boot::BootLoader& loader,
                               const Environment& environment, const Config& config) {
  Inventory inventory = CFS_TRY(read_inventory(sysroot));
  const References& references = inventory.references;
  std::optional<Deployment> next = CFS_TRY(next_deployment(loader, inventory));
  if (!next || !references.booted || next->id == references.booted->id) return {};
  if (std::optional<std::string> reason = CFS_TRY(why_not_reboot(config, environment))) {
    environment.print(next->version + " waits for a reboot: " + *reason + "\n");
    return {};
  }
  environment.print("restarting into " + next->version + "\n");
  return restart(environment);
}

}  // namespace

Result<UpdateResult> update(Sysroot& sysroot, boot::BootLoader& loader,
                            const Environment& environment, const UpdateOptions& options) {
  std::vector<net::Url> urls = options.urls;
  if (urls.empty()) urls.push_back(sysroot.origin().url);
  for (size_t i = 0; i + 1 < urls.size(); ++i) {
    Result<UpdateResult> result = update_from(urls[i], sysroot, loader, environment, options);
    if (result || result.error().code != ErrorCode::kNetwork) return result;
    environment.print(urls[i].shown() + ": " + result.error().describe() + "\ntrying " +
                      urls[i + 1].shown() + "\n");
  }
  return update_from(urls.back(), sysroot, loader, environment, options);
}

RunCommand declare_update(CLI::App& command) {
  struct Arguments {
    std::string sysroot = kDefaultSysroot;
    std::string esp;
    std::optional<net::Url> url;
    bool check = false;
    bool unattended = false;
    bool retry = false;
    bool no_way_back = false;
  };
  auto arguments = std::make_shared<Arguments>();
  add_sysroot_option(command, arguments->sysroot);
  add_esp_option(command, arguments->esp);
  add_url_option(command, "--url", "Fetch from here this time (mirror, USB stick)", arguments->url);
  CLI::Option* check =
      command.add_flag("--check", arguments->check, "Only say what would be fetched");
  command
      .add_flag("--unattended", arguments->unattended,
                "Only if the configuration says that it is time; restart when it says so")
      ->excludes(check);
  command.add_flag("--retry", arguments->retry,
                   "Take a release again that has failed here or was turned away from");
  add_no_way_back_option(command, arguments->no_way_back);
  return [arguments](const Environment& environment) -> Result<int> {
    Sysroot sysroot = CFS_TRY(Sysroot::open(environment, arguments->sysroot, Access::kWrite));
    MountedEsp esp = CFS_TRY(MountedEsp::open(arguments->esp, environment, Access::kWrite));
    Config config = CFS_TRY(read_config(environment));
    if (arguments->unattended) {
      CFS_TRY(note_what_booted(sysroot, environment, esp.loader()));
      if (std::optional<std::string> reason = CFS_TRY(why_not_look(config, environment))) {
        environment.print("not looking: " + *reason + "\n");
        CFS_TRY(restart_if_it_is_time(sysroot, esp.loader(), environment, config));
        return exit_status(ErrorCode::kNothingToDo);
      }
    }
    if (arguments->url) config.urls = {*arguments->url};
    SwitchOptions switching = switch_options(arguments->no_way_back);
    switching.tries = static_cast<unsigned>(config.tries);
    UpdateResult result = CFS_TRY(update(sysroot, esp.loader(), environment,
                                         {.urls = config.urls,
                                          .channel = config.channel,
                                          .check_only = arguments->check,
                                          .retry = arguments->retry,
                                          .switching = switching,
                                          .check_room = {}}));
    if (arguments->unattended) {
      CFS_TRY(note_look(environment));
      CFS_TRY(restart_if_it_is_time(sysroot, esp.loader(), environment, config));
    }
    return result.up_to_date ? exit_status(ErrorCode::kNothingToDo) : 0;
  };
}

}  // namespace cfs::deployer
