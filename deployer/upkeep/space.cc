// SPDX-License-Identifier: Apache-2.0
#include "deployer/upkeep/space.h"

#include <algorithm>

#include "deployer/boot_order.h"
#include "deployer/fetch/plan.h"
#include "deployer/upkeep/needed_objects.h"
#include "lib/base/bytes.h"
#include "lib/base/free_space.h"
#include "lib/base/interrupt.h"
#include "lib/base/utf8.h"
#include "lib/sysroot/layout.h"
#include "lib/verity/merkle.h"

namespace cfs::deployer {
namespace {

/// An object and who needs it.
struct Use {
  verity::Digest digest;
  uint64_t bytes = 0;
  const Deployment* first = nullptr;  ///< needs it
  bool is_shared = false;             ///< others do too
};

bool is_before(const Use& use, const verity::Digest& digest) { return use.digest < digest; }

/// The objects of an image, itself included; sorted by digest.
Result<std::vector<tree::ObjectReference>> read_objects(const Sysroot& sysroot,
                                                        const verity::Digest& image) {
  std::vector<tree::ObjectReference> objects = CFS_TRY(objects_of_image(sysroot.objects(), image));
  struct stat file = CFS_TRY(sysroot.directory().stat(sysroot::object_path(image)));
  auto place = std::lower_bound(objects.begin(), objects.end(), image,
                                [](const tree::ObjectReference& one, const verity::Digest& digest) {
                                  return one.digest < digest;
                                });
  objects.insert(place, {.digest = image, .size_bytes = static_cast<uint64_t>(file.st_size)});
  return objects;
}

/// Adds what a deployment needs to `uses`, which are sorted. `objects` are so too.
void add_uses(std::vector<Use>& uses, const std::vector<tree::ObjectReference>& objects,
              const Deployment& deployment) {
  std::vector<Use> fresh;
  auto known = uses.begin();
  for (const tree::ObjectReference& object : objects) {
    known = std::lower_bound(known, uses.end(), object.digest, is_before);
    if (known != uses.end() && known->digest == object.digest) {
      known->is_shared = true;
    } else {
      fresh.push_back({.digest = object.digest,
                       .bytes = disk_usage_bytes(object.size_bytes),
                       .first = &deployment});
    }
  }
  const auto middle = static_cast<std::ptrdiff_t>(uses.size());
  uses.insert(uses.end(), fresh.begin(), fresh.end());
  std::inplace_merge(uses.begin(), uses.begin() + middle, uses.end(),
                     [](const Use& a, const Use& b) { return a.digest < b.digest; });
}

/// Of the copy of its UKI.
uint64_t uki_bytes(const Sysroot& sysroot, const Deployment& deployment) {
  if (!deployment.uki) return 0;
  Result<struct stat> file =
      sysroot.directory().stat(sysroot::uki_path(deployment.digest, *deployment.uki));
  return file ? align_up(static_cast<uint64_t>(file->st_size), verity::kBlockSize) : 0;
}

}  // namespace

Result<Space> measure_space(const Sysroot& sysroot, const std::vector<Deployment>& deployments,
                            std::vector<Damage>& damaged) {
  Space space;
  std::vector<Use> uses;
  for (const Deployment& one : deployments) {
    if (one.collected) continue;
    Result<std::vector<tree::ObjectReference>> objects = read_objects(sysroot, one.digest);
    CFS_TRY(check_interrupted());
    if (!objects) {
      damaged.push_back(
          {sysroot::object_path(one.digest), printable_text(objects.error().describe())});
      continue;
    }
    add_uses(uses, *objects, one);
    Space::Release& release = space.releases[one.id];
    for (const tree::ObjectReference& object : *objects) {
      release.bytes += disk_usage_bytes(object.size_bytes);
    }
    release.unique_bytes = uki_bytes(sysroot, one);
    release.bytes += release.unique_bytes;
  }
  for (const Use& use : uses) {
    space.bytes += use.bytes;
    if (use.is_shared) {
      space.shared_bytes += use.bytes;
    } else {
      space.releases[use.first->id].unique_bytes += use.bytes;
    }
  }
  space.objects = uses.size();
  return space;
}

Result<> check_room_for_another(const Sysroot& sysroot, const boot::BootLoader& loader,
                                const Inventory& inventory, const std::optional<Garbage>& garbage) {
  const std::optional<Deployment>& booted = inventory.references.booted;
  if (!booted) {
    return as_far_as_readable(inventory,
                              make_error(ErrorCode::kNotFound, "it is not known what runs"));
  }
  const release::ReleaseDescription release = CFS_TRY(sysroot.read_release(booted->digest));
  const release::ReleaseFile* uki = release.file_with_role("uki");
  const uint64_t uki_bytes = uki == nullptr ? 0 : uki->size_bytes;
  uint64_t disk_bytes = kMarginBytes + align_up(uki_bytes, verity::kBlockSize);
  Result<std::vector<tree::ObjectReference>> objects = read_objects(sysroot, booted->digest);
  CFS_TRY(check_interrupted());
  if (objects) {
    for (const tree::ObjectReference& object : *objects) {
      disk_bytes += disk_usage_bytes(object.size_bytes);
    }
  } else if (is_damage(objects.error())) {  // which is told elsewhere
    disk_bytes += release.objects.size_bytes + release.image.size_bytes;
  } else {
    return Error(std::move(objects).error());
  }
  FileSystemSpace disk = CFS_TRY(file_system_space(sysroot.directory().fd()));
  if (garbage) disk.free_bytes += garbage->disk_bytes;
  CFS_TRY(require_space(disk, "the sysroot", disk_bytes, release.objects.count + kMarginInodes));
  FileSystemSpace esp;
  esp.free_bytes = CFS_TRY(loader.free_bytes()) +
                   std::max(CFS_TRY(removable_entry_bytes(sysroot, loader, inventory)),
                            garbage ? garbage->esp_bytes : 0);
  return require_space(esp, "the EFI system partition",
                       CFS_TRY(esp_bytes_to_switch(sysroot, loader, inventory, {}, uki_bytes)));
}

}  // namespace cfs::deployer
