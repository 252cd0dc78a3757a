// SPDX-License-Identifier: Apache-2.0
//
// The order of removal. What stays is known, and its images read, before anything goes; and each
// step removes what nothing that is left refers to:
//
//     boot entries    so that none starts what is about to go
//     records         the last that knows of a release; a held one is reduced to its record
//     images/         links; what has none is not mounted
//     releases/       descriptions and UKIs
//     state/etc/      the /etc of releases
//     objects
//
// Each is durable before the next begins, but for objects: one that a power cut brings back is
// removed by the next run. So is whatever a cut between two steps leaves: it has no record.
#include "deployer/upkeep/gc.h"

#include <algorithm>
#include <memory>

#include "deployer/config/config.h"
#include "deployer/mounted_esp.h"
#include "deployer/options.h"
#include "deployer/sysroot/etc.h"
#include "deployer/sysroot/running.h"
#include "deployer/upkeep/needed_objects.h"
#include "lib/base/interrupt.h"
#include "lib/base/progress.h"
#include "lib/sysroot/layout.h"

namespace cfs::deployer {
namespace {

/// What to do about an image that must stay and is damaged. Only a pin and the recovery can be
/// given up.
std::string way_out(const Inventory& inventory, const verity::Digest& image) {
  const References& references = inventory.references;
  std::string given_up;
  auto add = [&](const std::string& command) {
    given_up += (given_up.empty() ? "" : " and ") + ("'cfs-deploy " + command + "'");
  };
  for (const Deployment& one : inventory.deployments) {
    auto is = [&](const std::optional<Deployment>& role) { return role && role->id == one.id; };
    if (one.digest != image || is(references.booted) || is(references.previous)) continue;
    if (std::count(inventory.pinned.begin(), inventory.pinned.end(), one.id) > 0) {
      add("unpin " + one.id);
    }
    if (is(references.recovery)) add("recovery clear");
  }
  std::string hint = "nothing was removed; 'cfs-deploy fsck --repair' mends the image";
  if (given_up.empty()) return hint;
  return hint + "; where the repository has it no more, give the release up with " + given_up;
}

/// Sorted.
Result<std::vector<verity::Digest>> objects_of(const Sysroot& sysroot, const Inventory& inventory,
                                               const Roots& roots,
                                               const std::vector<verity::Digest>& also) {
  std::vector<verity::Digest> objects = also;
  std::sort(objects.begin(), objects.end());
  Progress progress("reading what images need", roots.images.size(), Progress::Unit::kItems);
  for (const verity::Digest& image : roots.images) {
    progress.add(1);
    CFS_TRY(check_interrupted());
    Result<std::vector<tree::ObjectReference>> needed = objects_of_image(sysroot.objects(), image);
    bool has_record = std::any_of(roots.kept.begin(), roots.kept.end(),
                                  [&](const Deployment& one) { return one.digest == image; });
    // An entry whose image is gone cannot boot.
    if (!needed && !has_record && needed.error().code == ErrorCode::kNotFound) continue;
    if (!needed) {
      return Error(std::move(needed).error())
          .with("while looking what image " + image.hex() + " needs")
          .with_hint(way_out(inventory, image));
    }
    // A hundred releases share most of theirs: each is merged into what is known by then.
    const auto known = static_cast<std::ptrdiff_t>(objects.size());
    for (const tree::ObjectReference& object : *needed) objects.push_back(object.digest);
    objects.push_back(image);
    std::sort(objects.begin() + known, objects.end());
    std::inplace_merge(objects.begin(), objects.begin() + known, objects.end());
    objects.erase(std::unique(objects.begin(), objects.end()), objects.end());
  }
  return objects;
}

/// A record must stay that keeps `update` from taking the release again.
bool is_still_of_use(const Deployment& deployment, const Roots& roots) {
  if (!deployment.held) return false;
  return std::none_of(roots.kept.begin(), roots.kept.end(), [&](const Deployment& one) {
    return one.state == DeploymentState::kGood && !one.held && one.name == deployment.name &&
           one.channel == deployment.channel && one.epoch > deployment.epoch;
  });
}

/// Those of what goes, and those of which nothing else is left.
Result<std::vector<boot::BootEntry>> entries_to_remove(const Sysroot& sysroot,
                                                       const boot::BootLoader& loader,
                                                       const Inventory& inventory,
                                                       const Roots& roots) {
  std::vector<boot::BootEntry> entries = CFS_TRY(orphaned_entries(sysroot, loader, inventory));
  for (const boot::BootEntry& entry : CFS_TRY(loader.list())) {
    const bool goes =
        std::any_of(roots.collected.begin(), roots.collected.end(),
                    [&](const Deployment& one) { return boot::same_entry(one.entry, entry.id); });
    if (goes) entries.push_back(entry);
  }
  return entries;
}

Result<uint64_t> remove_entries(const Sysroot& sysroot, boot::BootLoader& loader,
                                const Inventory& inventory, const Roots& roots) {
  uint64_t bytes = 0;
  for (const boot::BootEntry& entry :
       CFS_TRY(entries_to_remove(sysroot, loader, inventory, roots))) {
    CFS_TRY(loader.remove(entry.id));
    bytes += entry.size_bytes;
  }
  return bytes;
}

/// Moves the directory aside in one step, which is durable, and removes it there.
Result<uint64_t> remove_whole(const Directory& cfs, const std::string& parent,
                              const std::string& name, store::Removal removal) {
  const uint64_t bytes = CFS_TRY(cfs.disk_bytes(parent + "/" + name));
  if (removal == store::Removal::kOnlyCount) return bytes;
  const std::string aside = std::string(sysroot::kTemporary) + "/" + name;
  CFS_TRY(cfs.remove_tree(aside));
  CFS_TRY(cfs.rename(parent + "/" + name, aside));
  CFS_TRY(cfs.sync(parent));
  CFS_TRY(cfs.remove_tree(aside));
  return bytes;
}

Result<uint64_t> remove_records(Sysroot& sysroot, Inventory& inventory, const Roots& roots,
                                store::Removal removal) {
  uint64_t bytes = 0;
  for (const Deployment& one : roots.collected) {
    CFS_TRY(check_interrupted());
    if (is_still_of_use(one, roots)) {
      if (one.collected || removal == store::Removal::kOnlyCount) continue;
      Deployment left = one;
      left.collected = true;
      CFS_TRY(save_deployment(sysroot, left));
      update_inventory(inventory, left);
      continue;
    }
    bytes += CFS_TRY(remove_whole(sysroot.directory(), sysroot::kDeployments, one.id, removal));
  }
  if (removal == store::Removal::kOnlyCount) return bytes;
  std::erase_if(inventory.deployments, [&](const Deployment& one) {
    bool goes = std::any_of(roots.collected.begin(), roots.collected.end(),
                            [&](const Deployment& other) { return other.id == one.id; });
    return goes && !one.collected;
  });
  return bytes;
}

Result<uint64_t> remove_images(const Directory& cfs, const std::set<verity::Digest>& images,
                               store::Removal removal) {
  uint64_t bytes = 0;
  for (const std::string& name : CFS_TRY(cfs.list(sysroot::kImages))) {
    std::optional<verity::Digest> digest = verity::Digest::parse(name);
    if (!digest || images.contains(*digest)) continue;
    bytes += CFS_TRY(cfs.disk_bytes(sysroot::image_path(*digest)));
    if (removal == store::Removal::kRemove) {
      CFS_TRY(cfs.remove_file(sysroot::image_path(*digest)));
    }
  }
  if (removal == store::Removal::kRemove) CFS_TRY(cfs.sync(sysroot::kImages));
  return bytes;
}

/// UKIs that no deployment of the image boots with.
Result<uint64_t> remove_ukis(const Directory& cfs, const verity::Digest& image, const Roots& roots,
                             store::Removal removal) {
  uint64_t bytes = 0;
  const std::string directory = sysroot::release_directory(image);
  std::set<std::string> needed;
  for (const Deployment& one : roots.kept) {
    if (one.digest != image) continue;
    if (!one.uki) return bytes;  // an earlier version's, which does not say
    needed.insert(sysroot::uki_path(image, *one.uki));
  }
  for (const std::string& name : CFS_TRY(cfs.list(directory))) {
    const std::string path = directory + "/" + name;
    if (!name.ends_with(".efi") || needed.contains(path)) continue;
    bytes += CFS_TRY(cfs.disk_bytes(path));
    if (removal == store::Removal::kRemove) CFS_TRY(cfs.remove_file(path));
  }
  return bytes;
}

Result<uint64_t> remove_releases(const Directory& cfs, const Roots& roots,
                                 const std::vector<verity::Digest>& also, store::Removal removal) {
  uint64_t bytes = 0;
  for (const std::string& name : CFS_TRY(cfs.list(sysroot::kReleases))) {
    CFS_TRY(check_interrupted());
    std::optional<verity::Digest> digest = verity::Digest::parse(name);
    if (!digest || std::find(also.begin(), also.end(), *digest) != also.end()) continue;
    bool has_record = std::any_of(roots.kept.begin(), roots.kept.end(),
                                  [&](const Deployment& one) { return one.digest == *digest; });
    if (has_record) {
      bytes += CFS_TRY(remove_ukis(cfs, *digest, roots, removal));
    } else if (!roots.images.contains(*digest)) {
      bytes += CFS_TRY(remove_whole(cfs, sysroot::kReleases, name, removal));
    }
  }
  return bytes;
}

/// All but the boot entries, in order. `keep`: of objects_of().
Result<Garbage> remove_from_sysroot(Sysroot& sysroot, Inventory& inventory, const Roots& roots,
                                    const GarbageOptions& options,
                                    const std::vector<verity::Digest>& keep,
                                    store::Removal removal) {
  const Directory& cfs = sysroot.directory();
  Garbage garbage;
  garbage.disk_bytes += CFS_TRY(remove_records(sysroot, inventory, roots, removal));
  garbage.disk_bytes += CFS_TRY(remove_images(cfs, roots.images, removal));
  garbage.disk_bytes += CFS_TRY(remove_releases(cfs, roots, options.also, removal));
  garbage.disk_bytes += CFS_TRY(remove_unneeded_etc(sysroot, roots.images, removal));
  garbage.objects = CFS_TRY(sysroot.objects().remove_all_but(keep, removal));
  garbage.disk_bytes += garbage.objects.disk_bytes;
  for (const Deployment& one : roots.collected) {
    if (!one.collected) garbage.deployments.push_back(one);
  }
  return garbage;
}

json::Value to_json(const Garbage& garbage) {
  json::Value::Array deployments;
  for (const Deployment& one : garbage.deployments) deployments.push_back(to_json(one));
  return json::Value::Object{
      {"schema", 1},
      {"deployments", std::move(deployments)},
      {"objects", json::Value::Object{{"count", garbage.objects.objects},
                                      {"disk_bytes", garbage.objects.disk_bytes}}},
      {"disk_bytes", garbage.disk_bytes},
      {"esp_bytes", garbage.esp_bytes}};
}

}  // namespace

Result<Garbage> find_garbage(Sysroot& sysroot, const boot::BootLoader& loader,
                             const Environment& environment, const Inventory& inventory,
                             const GarbageOptions& options) {
  const Roots roots = CFS_TRY(find_roots(inventory, loader, environment, options.keep));
  const std::vector<verity::Digest> keep =
      CFS_TRY(objects_of(sysroot, inventory, roots, options.also));
  Inventory unchanged = inventory;
  Garbage garbage = CFS_TRY(
      remove_from_sysroot(sysroot, unchanged, roots, options, keep, store::Removal::kOnlyCount));
  for (const boot::BootEntry& entry :
       CFS_TRY(entries_to_remove(sysroot, loader, inventory, roots))) {
    garbage.esp_bytes += entry.size_bytes;
  }
  return garbage;
}

Result<Garbage> collect_garbage(Sysroot& sysroot, boot::BootLoader& loader,
                                const Environment& environment, Inventory& inventory,
                                const GarbageOptions& options) {
  const Roots roots = CFS_TRY(find_roots(inventory, loader, environment, options.keep));
  const std::vector<verity::Digest> keep =
      CFS_TRY(objects_of(sysroot, inventory, roots, options.also));
  const uint64_t esp_bytes = CFS_TRY(remove_entries(sysroot, loader, inventory, roots));
  Garbage garbage = CFS_TRY(
      remove_from_sysroot(sysroot, inventory, roots, options, keep, store::Removal::kRemove));
  garbage.esp_bytes = esp_bytes;
  return garbage;
}

std::string describe(const Garbage& garbage, bool is_dry_run) {
  std::string text = is_dry_run ? "would remove " : "removed ";
  for (const Deployment& one : garbage.deployments) {
    text += one.version + " (epoch " + std::to_string(one.epoch) + "), ";
  }
  return text + std::to_string(garbage.objects.objects) + " objects, " + describe_bytes(garbage);
}

std::string describe_bytes(const Garbage& garbage) {
  return format_bytes(garbage.disk_bytes) +
         (garbage.esp_bytes > 0 ? ", and " + format_bytes(garbage.esp_bytes) + " on the ESP" : "");
}

void tell(const Result<Garbage>& garbage, const Environment& environment) {
  if (garbage && garbage->empty()) return;
  const std::string text =
      garbage ? describe(*garbage, false) : "not collected: " + garbage.error().describe();
  environment.print("garbage: " + text + "\n");
}

RunCommand declare_gc(CLI::App& command) {
  struct Arguments {
    std::string sysroot = kDefaultSysroot;
    std::string esp;
    bool dry_run = false;
  };
  auto arguments = std::make_shared<Arguments>();
  add_sysroot_option(command, arguments->sysroot);
  add_esp_option(command, arguments->esp);
  add_flag(command, "--dry-run", arguments->dry_run, "Only say what would be removed");
  return [arguments](const Environment& environment) -> Result<Answer> {
    const Access access = arguments->dry_run ? Access::kRead : Access::kWrite;
    Sysroot sysroot = CFS_TRY(Sysroot::open(environment, arguments->sysroot, access));
    MountedEsp esp = CFS_TRY(MountedEsp::open(arguments->esp, environment, access));
    const GarbageOptions options{.keep = CFS_TRY(read_config(environment)).keep, .also = {}};
    Garbage garbage;
    if (arguments->dry_run) {
      const Inventory inventory =
          CFS_TRY(inventory_now(sysroot, environment, CFS_TRY(esp.loader().selected())));
      garbage = CFS_TRY(find_garbage(sysroot, esp.loader(), environment, inventory, options));
    } else {
      Inventory inventory = CFS_TRY(note_what_booted(sysroot, environment, esp.loader()));
      garbage = CFS_TRY(collect_garbage(sysroot, esp.loader(), environment, inventory, options));
    }
    environment.print(describe(garbage, arguments->dry_run) + "\n");
    return Answer{.json = to_json(garbage)};
  };
}

}  // namespace cfs::deployer
