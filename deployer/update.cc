// SPDX-License-Identifier: Apache-2.0
#include "deployer/update.h"

#include <algorithm>
#include <memory>

#include "deployer/apply.h"
#include "deployer/config/schedule.h"
#include "deployer/fetch/repository.h"
#include "deployer/mounted_esp.h"
#include "deployer/options.h"
#include "deployer/sysroot/board.h"
#include "deployer/sysroot/etc.h"
#include "deployer/sysroot/known_time.h"
#include "deployer/sysroot/lost_record.h"
#include "deployer/sysroot/running.h"
#include "deployer/trial.h"
#include "deployer/upkeep/gc.h"
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

/// Nothing when the deployment has all it needs; otherwise what it lacks, in words.
Result<std::optional<std::string>> what_is_missing(Sysroot& sysroot, const Deployment& deployment,
                                                   const release::ReleaseFile& uki) {
  std::optional<std::string> missing;
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

/// The installed deployment of a release that is on offer.
std::optional<Deployment> find_release(const Inventory& inventory, const verity::Digest& image,
                                       uint64_t epoch) {
  for (const Deployment& one : inventory.deployments) {
    if (one.digest == image && one.epoch == epoch) return one;
  }
  return std::nullopt;
}

/// A time later than all that its signers vouch for would be taken for the time by a device without
/// a clock.
Result<> check_not_made_later(const release::ReleaseDescription& description,
                              const trust::Verified<trust::Targets>& targets) {
  const auto created = static_cast<UnixTime>(description.created);
  if (created <= targets->expires) return {};
  return make_error(ErrorCode::kCorrupt, "release '" + description.version + "' says that it was " +
                                             "made at " + format_time(created) +
                                             ", later than the metadata that offers it expires, " +
                                             format_time(targets->expires))
      .with_hint("build it with a right source_date_epoch, and publish it with a higher epoch");
}

Result<> check_room_on_device(const Sysroot& sysroot, boot::BootLoader& loader,
                              const Inventory& inventory, const Deployment& deployment,
                              const Plan& plan, uint64_t uki_bytes) {
  CFS_TRY(require_space(sysroot.directory().fd(), "the sysroot", plan.disk_bytes + kMarginBytes,
                        plan.inodes + kMarginInodes));
  const bool has_entry = CFS_TRY(has_whole_entry(loader, deployment));
  const uint64_t esp_bytes = CFS_TRY(
      esp_bytes_to_switch(sysroot, loader, inventory, deployment, has_entry ? 0 : uki_bytes));
  if (CFS_TRY(loader.free_bytes()) < esp_bytes) {
    std::vector<std::string> needed = {deployment.entry};
    for (const Deployment& one : ways_back(inventory, deployment)) needed.push_back(one.entry);
    needed.resize(std::min(needed.size(), kEntriesKept));
    CFS_TRY(remove_unneeded_entries(sysroot, loader, inventory, needed));
  }
  // What is missing of an installed release is fetched all the same.
  if (has_entry) return {};
  FileSystemSpace esp;
  esp.free_bytes = CFS_TRY(loader.free_bytes());
  return require_space(esp, "the EFI system partition", esp_bytes);
}

/// What the release that is on its way needs must stay, though nothing refers to it yet.
GarbageOptions garbage_options(const transport::Manifest& manifest, uint64_t keep) {
  GarbageOptions options{.keep = keep, .also = {manifest.image.digest}};
  for (const transport::Entry& entry : manifest.objects) options.also.push_back(entry.digest);
  return options;
}

/// check_room_on_device(), after garbage has been collected if there is not enough.
Result<> make_room_on_device(Sysroot& sysroot, boot::BootLoader& loader,
                             const Environment& environment, Inventory& installed,
                             const Deployment& deployment, const Plan& plan, uint64_t uki_bytes,
                             const GarbageOptions& options) {
  Result<> room = check_room_on_device(sysroot, loader, installed, deployment, plan, uki_bytes);
  if (room || room.error().code != ErrorCode::kNoSpace) return room;
  Result<Garbage> garbage = collect_garbage(sysroot, loader, environment, installed, options);
  CFS_TRY(check_interrupted());
  tell(garbage, environment);
  if (!garbage) return room;
  return check_room_on_device(sysroot, loader, installed, deployment, plan, uki_bytes);
}

/// What a repository has for this device, verified.
struct Offer {
  trust::Verified<trust::Targets> targets;
  trust::ReleaseTarget newest;
  trust::Verified<release::ReleaseDescription> description;
};

Result<Offer> read_offer(Repository& repository, const net::Url& url, Sysroot& sysroot,
                         const Environment& environment, const Inventory& installed,
                         const UpdateOptions& options) {
  const Origin& origin = sysroot.origin();
  const std::string& channel = options.channel.empty() ? origin.channel : options.channel;
  const UnixTime now = CFS_TRY(believable_time(sysroot, installed, environment));
  trust::Fetch fetch = repository.metadata();
  trust::MetadataDirectory trusted = CFS_TRY(sysroot.trust_store());
  trust::Verified<trust::Targets> targets = CFS_TRY(refresh(trusted, fetch, now, url));
  if (options.purpose == Purpose::kDevice) CFS_TRY(note_verified(sysroot, environment));
  trust::ReleaseTarget newest =
      CFS_TRY(trust::find_newest_release(trusted, fetch, targets, origin.name, channel));
  CFS_TRY(refuse_older(installed, targets, newest));
  trust::Verified<release::ReleaseDescription> description =
      CFS_TRY(trust::fetch_release(targets, newest.target, fetch));
  CFS_TRY(check_compatible(*description, CFS_TRY(read_board(sysroot.directory()))));
  CFS_TRY(check_not_made_later(*description, targets));
  if (description->file_with_role("uki") == nullptr) {
    return make_error(ErrorCode::kCorrupt, "release '" + newest.version + "' has no UKI");
  }
  return Offer{std::move(targets), std::move(newest), std::move(description)};
}

/// The deployment is on trial, and runs for the last time: to switch to it once more would give it
/// new tries, and it would never be left.
Result<bool> is_in_last_try(const boot::BootLoader& loader, const Deployment& deployment) {
  if (deployment.state != DeploymentState::kTrial) return false;
  for (const boot::BootEntry& entry : CFS_TRY(loader.list())) {
    if (boot::same_entry(entry.id, deployment.entry)) return entry.is_used_up();
  }
  return false;
}

/// What there is to do for the release on offer, before its objects are looked at: kAvailable if
/// anything.
Result<UpdateResult> compare_with_installed(Sysroot& sysroot, const boot::BootLoader& loader,
                                            const Environment& environment,
                                            const Inventory& installed, const Offer& offer,
                                            const UpdateOptions& options) {
  const References& references = installed.references;
  const trust::ReleaseTarget& newest = offer.newest;
  const std::string name = newest.name + " " + named(newest.version, newest.epoch);
  UpdateResult result{
      .outcome = UpdateOutcome::kAvailable,
      .newest = newest,
      .from = references.staged ? references.staged : references.booted,
      .deployment = find_release(installed, offer.description->image.digest, newest.epoch),
      .plan = {}};
  const std::optional<Deployment>& known = result.deployment;
  std::optional<Reason> held;
  if (known) {
    held = known->held;
  } else {
    held = CFS_TRY(held_by_lost_record(sysroot, installed, *offer.description));
  }
  if (held && !options.retry) {
    environment.print("held: " + name + ", " + describe(*held) +
                      "; 'cfs-deploy update --retry' takes it again\n");
    result.outcome = UpdateOutcome::kHeld;
    return result;
  }
  if (!known || held) return result;  // it is taken again, whatever is there of it
  const bool is_current = result.from && result.from->id == known->id;
  if (is_current && !options.retry && CFS_TRY(is_in_last_try(loader, *known))) {
    environment.print("up to date: " + name + ", in the last try of its trial\n");
    result.outcome = UpdateOutcome::kUpToDate;
    return result;
  }
  if (options.until != Until::kFetched && !is_current) return result;
  std::optional<std::string> missing;
  if (is_current && options.until != Until::kFetched && !CFS_TRY(boots_next(loader, *known))) {
    missing = "it does not boot next";
  } else {
    missing = CFS_TRY(what_is_missing(sysroot, *known, *offer.description->file_with_role("uki")));
  }
  if (missing) {
    environment.print("incomplete: " + named(newest.version, newest.epoch) + ", " + *missing +
                      "\n");
    return result;
  }
  const bool waits = known->state == DeploymentState::kFetched;
  environment.print((waits ? "fetched already: " : "up to date: ") + name + "\n");
  result.outcome = UpdateOutcome::kUpToDate;
  return result;
}

std::string describe_plan(const UpdateResult& result, const std::string& channel, size_t objects) {
  const Plan& plan = result.plan;
  const trust::ReleaseTarget& newest = result.newest;
  return newest.name + " " + channel + ": " +
         (result.from ? named(result.from->version, result.from->epoch) + " -> "
                      : std::string("new: ")) +
         named(newest.version, newest.epoch) + "\nto fetch: " + format_bytes(plan.fetch_bytes) +
         " in " + std::to_string(plan.files()) + " files (the release has " +
         std::to_string(objects) + " objects); needs " + format_bytes(plan.disk_bytes) +
         " on disk\n";
}

/// Nothing: what it takes the place of cannot be read any more.
Result<std::optional<Changes>> find_changes(const Sysroot& sysroot,
                                            const std::optional<Deployment>& from,
                                            const release::ReleaseDescription& to) {
  std::optional<Changes> changes;
  if (!from) return changes;
  Result<release::ReleaseDescription> before = sysroot.read_release(from->digest);
  CFS_TRY(check_interrupted());
  if (!before) return changes;
  changes = Changes{.kernel_before = before->kernel.version,
                    .kernel = to.kernel.version,
                    .state_version_before = before->state_version,
                    .state_version = to.state_version};
  return changes;
}

std::string describe(const Changes& changes) {
  std::string text = "changes: ";
  text += changes.kernel == changes.kernel_before
              ? "the kernel stays " + changes.kernel
              : "kernel " + changes.kernel_before + " -> " + changes.kernel;
  if (changes.state_version != changes.state_version_before) {
    text += "; state version " + std::to_string(changes.state_version_before) + " -> " +
            std::to_string(changes.state_version) + ": a rollback across it needs --force";
  }
  return text + "\n";
}

/// Brings what the plan says, the UKI too, into the sysroot.
Result<> fetch_all(Repository& repository, Sysroot& sysroot, const verity::Digest& digest,
                   const Plan& plan) {
  Progress progress("fetching", plan.fetch_bytes);
  const Directory& cfs = sysroot.directory();
  const std::string directory = sysroot::release_directory(digest);
  CFS_TRY(cfs.make_directories(directory, sysroot::mode_of(directory, true)));
  if (plan.uki) {
    CFS_TRY(repository.fetch_file(*plan.uki, cfs, sysroot::uki_path(digest, plan.uki->sha256),
                                  progress));
  }
  CFS_TRY(repository.fetch_objects(plan.objects, sysroot.objects(), progress));
  if (!plan.image) return {};
  return repository.fetch_objects(std::span(&*plan.image, 1), sysroot.objects(), progress);
}

/// update() from one repository.
Result<UpdateResult> update_from(const net::Url& url, Sysroot& sysroot, boot::BootLoader& loader,
                                 const Environment& environment, const UpdateOptions& options) {
  Inventory installed = CFS_TRY(note_what_booted(sysroot, environment, loader));
  Repository repository = CFS_TRY(Repository::open(url, environment.network));
  const Offer offer =
      CFS_TRY(read_offer(repository, url, sysroot, environment, installed, options));
  const release::ReleaseDescription& description = *offer.description;
  const release::ReleaseFile& uki = *description.file_with_role("uki");
  UpdateResult result =
      CFS_TRY(compare_with_installed(sysroot, loader, environment, installed, offer, options));
  if (result.is_nothing_to_do()) return result;

  trust::Verified<transport::Manifest> manifest =
      CFS_TRY(trust::fetch_transport(offer.description, repository.metadata()));
  result.plan = CFS_TRY(make_plan(manifest, sysroot.objects()));
  const std::string uki_path = sysroot::uki_path(description.image.digest, uki.sha256);
  if (!CFS_TRY(file_is_there(uki, sysroot.directory(), uki_path))) result.plan.add_uki(uki);
  result.changes = CFS_TRY(find_changes(sysroot, result.from, description));
  environment.print(describe_plan(result, offer.newest.channel, manifest->objects.size()));
  if (result.changes) environment.print(describe(*result.changes));
  if (options.until == Until::kChecked) return result;

  const uint64_t time = options.purpose == Purpose::kDevice
                            ? CFS_TRY(time_of_record(sysroot, installed, environment))
                            : description.created;
  Deployment deployment = CFS_TRY(deployment_for(sysroot, installed, description, time));
  deployment.targets_keys = offer.targets->targets_keys;
  CFS_TRY(sysroot.require_verity());
  CFS_TRY(options.check_room ? options.check_room(result.plan, uki.size_bytes)
                             : make_room_on_device(sysroot, loader, environment, installed,
                                                   deployment, result.plan, uki.size_bytes,
                                                   garbage_options(*manifest, options.keep)));
  CFS_TRY(fetch_all(repository, sysroot, description.image.digest, result.plan));
  if (options.purpose == Purpose::kDevice) CFS_TRY(forget_etc(sysroot, description.image.digest));
  deployment =
      CFS_TRY(record_fetched(sysroot, installed, offer.description, std::move(deployment)));
  const std::string name = named(deployment.version, deployment.epoch);
  result.outcome = UpdateOutcome::kFetched;
  if (options.until == Until::kFetched) {
    environment.print("fetched " + name + ": 'cfs-deploy apply' makes it boot next\n");
  } else {
    deployment = CFS_TRY(apply(sysroot, loader, environment, std::span(&url, 1), installed,
                               deployment, options.switching));
    result.outcome = UpdateOutcome::kStaged;
    environment.print("staged " + name + ": " + deployment.entry + " boots next\n");
  }
  result.deployment = std::move(deployment);
  return result;
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

namespace {

struct Arguments {
  std::string sysroot = kDefaultSysroot;
  std::string esp;
  std::optional<net::Url> url;
  bool unattended = false;
  bool retry = false;
  bool no_way_back = false;
};

std::shared_ptr<Arguments> declare(CLI::App& command) {
  auto arguments = std::make_shared<Arguments>();
  add_sysroot_option(command, arguments->sysroot);
  add_esp_option(command, arguments->esp);
  add_url_option(command, "--url", "Fetch from here this time (mirror, USB stick)", arguments->url);
  return arguments;
}

void add_retry_option(CLI::App& command, bool& retry) {
  add_flag(command, "--retry", retry,
           "Take a release again that has failed here or was turned away from");
}

Answer answer(const UpdateResult& result) {
  return {.status = result.is_nothing_to_do() ? exit_status(ErrorCode::kNothingToDo) : 0,
          .json = to_json(result)};
}

Result<UpdateResult> update_until(Until until, const Arguments& arguments, Config config,
                                  Sysroot& sysroot, boot::BootLoader& loader,
                                  const Environment& environment) {
  if (arguments.url) config.urls = {*arguments.url};
  SwitchOptions switching = switch_options(arguments.no_way_back);
  switching.tries = static_cast<unsigned>(config.tries);
  return update(sysroot, loader, environment,
                {.urls = config.urls,
                 .channel = config.channel,
                 .until = until,
                 .retry = arguments.retry,
                 .keep = config.keep,
                 .switching = switching,
                 .check_room = {}});
}

RunCommand command_until(Until until, std::shared_ptr<Arguments> arguments) {
  return [until, arguments](const Environment& environment) -> Result<Answer> {
    Sysroot sysroot = CFS_TRY(Sysroot::open(environment, arguments->sysroot, Access::kWrite));
    MountedEsp esp = CFS_TRY(MountedEsp::open(arguments->esp, environment, Access::kWrite));
    return answer(CFS_TRY(update_until(until, *arguments, CFS_TRY(read_config(environment)),
                                       sysroot, esp.loader(), environment)));
  };
}

constexpr std::pair<UpdateOutcome, const char*> kOutcomes[] = {
    {UpdateOutcome::kUpToDate, "up-to-date"}, {UpdateOutcome::kHeld, "held"},
    {UpdateOutcome::kAvailable, "available"}, {UpdateOutcome::kFetched, "fetched"},
    {UpdateOutcome::kStaged, "staged"},
};

}  // namespace

namespace {

json::Value to_json(const std::optional<Changes>& changes) {
  if (!changes) return {};
  return json::Value::Object{
      {"kernel", json::Value::Object{{"from", changes->kernel_before}, {"to", changes->kernel}}},
      {"state_version", json::Value::Object{{"from", changes->state_version_before},
                                            {"to", changes->state_version}}}};
}

}  // namespace

json::Value to_json(const UpdateResult& result) {
  auto record = [](const std::optional<Deployment>& deployment) {
    return deployment ? to_json(*deployment) : json::Value();
  };
  json::Value::Object object{{"schema", 1},
                             {"release", json::Value::Object{{"name", result.newest.name},
                                                             {"version", result.newest.version},
                                                             {"channel", result.newest.channel},
                                                             {"epoch", result.newest.epoch}}},
                             {"from", record(result.from)},
                             {"deployment", record(result.deployment)},
                             {"fetch", json::Value::Object{{"bytes", result.plan.fetch_bytes},
                                                           {"files", uint64_t{result.plan.files()}},
                                                           {"disk_bytes", result.plan.disk_bytes}}},
                             {"changes", to_json(result.changes)}};
  for (const auto& [outcome, name] : kOutcomes) {
    if (outcome == result.outcome) object["outcome"] = name;
  }
  return object;
}

RunCommand declare_check(CLI::App& command) {
  auto arguments = declare(command);
  add_retry_option(command, arguments->retry);
  return command_until(Until::kChecked, std::move(arguments));
}

RunCommand declare_fetch(CLI::App& command) {
  auto arguments = declare(command);
  add_retry_option(command, arguments->retry);
  return command_until(Until::kFetched, std::move(arguments));
}

RunCommand declare_update(CLI::App& command) {
  auto arguments = declare(command);
  add_retry_option(command, arguments->retry);
  add_flag(command, "--unattended", arguments->unattended,
           "Only if the configuration says that it is time; restart when it says so");
  add_no_way_back_option(command, arguments->no_way_back);
  RunCommand attended = command_until(Until::kStaged, arguments);
  return [arguments, attended](const Environment& environment) -> Result<Answer> {
    if (!arguments->unattended) return attended(environment);
    Sysroot sysroot = CFS_TRY(Sysroot::open(environment, arguments->sysroot, Access::kWrite));
    MountedEsp esp = CFS_TRY(MountedEsp::open(arguments->esp, environment, Access::kWrite));
    Config config = CFS_TRY(read_config(environment));
    CFS_TRY(note_what_booted(sysroot, environment, esp.loader()));
    if (std::optional<std::string> reason = CFS_TRY(why_not_look(config, environment))) {
      environment.print("not looking: " + *reason + "\n");
      CFS_TRY(restart_if_it_is_time(sysroot, esp.loader(), environment, config));
      return Answer{.status = exit_status(ErrorCode::kNothingToDo),
                    .json = json::Value::Object{
                        {"schema", 1}, {"outcome", "not-looking"}, {"reason", *reason}}};
    }
    Result<UpdateResult> result =
        update_until(Until::kStaged, *arguments, config, sysroot, esp.loader(), environment);
    CFS_TRY(check_interrupted());
    if (result) CFS_TRY(note_look(environment));
    // What was staged before does not wait until the repository can be reached.
    CFS_TRY(restart_if_it_is_time(sysroot, esp.loader(), environment, config));
    return answer(CFS_TRY(std::move(result)));
  };
}

}  // namespace cfs::deployer
