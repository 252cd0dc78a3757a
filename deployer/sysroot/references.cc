// SPDX-License-Identifier: Apache-2.0
#include "deployer/sysroot/references.h"

#include <algorithm>

#include "lib/base/interrupt.h"
#include "lib/base/temporary_name.h"
#include "lib/json/canonical.h"
#include "lib/sysroot/layout.h"

namespace cfs::deployer {
namespace {

constexpr size_t kMaxRecordBytes = 64 << 10;

constexpr std::pair<Role, const char*> kRoles[] = {{Role::kBooted, "booted"},
                                                   {Role::kPrevious, "previous"},
                                                   {Role::kRecovery, "recovery"},
                                                   {Role::kStaged, "staged"}};

std::string path_of(Role role) { return sysroot::reference_path(role_name(role)); }

/// For people and JSON, whatever bytes a name has.
std::string printable(std::string text) {
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  return text;
}

/// The deployment whose directory is `deployments/<id>`; nothing when the making of it was cut off.
/// Errors: kNotFound (no directory); kCorrupt, kUnsupported.
Result<std::optional<Deployment>> read_deployment(const Directory& cfs, const std::string& id) {
  Result<std::string> text = cfs.read_file(sysroot::record_path(id), kMaxRecordBytes);
  if (!text && text.error().code == ErrorCode::kNotFound) {
    std::vector<std::string> names = CFS_TRY(cfs.list(sysroot::deployment_directory(id)));
    if (std::all_of(names.begin(), names.end(),
                    [](const std::string& name) { return name.starts_with(kTemporaryPrefix); })) {
      return std::nullopt;
    }
    return make_error(ErrorCode::kCorrupt, "the directory has no deployment.json");
  }
  Deployment deployment = CFS_TRY(parse_deployment(CFS_TRY(std::move(text))));
  if (deployment.id != id) {
    return make_error(ErrorCode::kCorrupt, "deployment.json belongs to '" + deployment.id + "'");
  }
  return deployment;
}

/// The id that the symlink of a role points to. Errors: kNotFound; kCorrupt, kInvalidInput (not
/// such a symlink).
Result<std::string> read_reference(const Directory& cfs, Role role) {
  const std::string parent = sysroot::reference_target("");
  std::string target = CFS_TRY(cfs.read_link(path_of(role)));
  if (!target.starts_with(parent)) {
    return make_error(ErrorCode::kCorrupt, "not a symlink to a deployment");
  }
  return target.substr(parent.size());
}

Result<> read_references(const Directory& cfs, Inventory& inventory) {
  for (const auto& [role, name] : kRoles) {
    Result<std::string> id = read_reference(cfs, role);
    CFS_TRY(check_interrupted());
    if (!id) {
      if (id.error().code == ErrorCode::kNotFound) continue;
      if (!is_damage(id.error())) return Error(std::move(id).error());
      inventory.damaged.push_back({path_of(role), printable(id.error().describe())});
      continue;
    }
    auto found = std::find_if(inventory.deployments.begin(), inventory.deployments.end(),
                              [&](const Deployment& one) { return one.id == *id; });
    if (found == inventory.deployments.end()) {
      inventory.damaged.push_back(
          {path_of(role), printable("points to '" + *id + "', which is not a deployment")});
    } else {
      reference_to(inventory.references, role) = *found;
    }
  }
  Result<std::vector<std::string>> pinned = cfs.list(sysroot::kPinned);
  if (pinned) {
    std::erase_if(*pinned,
                  [](const std::string& name) { return name.starts_with(kTemporaryPrefix); });
    inventory.pinned = std::move(*pinned);
  } else if (!is_damage(pinned.error())) {
    return Error(std::move(pinned).error());
  } else if (pinned.error().code != ErrorCode::kNotFound) {
    inventory.damaged.push_back({sysroot::kPinned, printable(pinned.error().describe())});
  }
  return {};
}

}  // namespace

bool is_damage(const Error& error) {
  switch (error.code) {
    case ErrorCode::kNotFound:
    case ErrorCode::kCorrupt:
    case ErrorCode::kDigestMismatch:
    case ErrorCode::kNoVerity:
    case ErrorCode::kInvalidInput:
    case ErrorCode::kUnsupported:
      return true;
    default:
      return is_lost_by_disk(error);
  }
}

std::string_view role_name(Role role) {
  for (const auto& [value, name] : kRoles) {
    if (value == role) return name;
  }
  return "";
}

std::optional<Deployment>& reference_to(References& references, Role role) {
  switch (role) {
    case Role::kBooted:
      return references.booted;
    case Role::kStaged:
      return references.staged;
    case Role::kPrevious:
      return references.previous;
    case Role::kRecovery:
      break;
  }
  return references.recovery;
}

Result<Inventory> read_inventory(const Sysroot& sysroot) {
  Inventory inventory;
  const Directory& cfs = sysroot.directory();
  for (const std::string& id : CFS_TRY(cfs.list(sysroot::kDeployments))) {
    Result<std::optional<Deployment>> deployment = read_deployment(cfs, id);
    CFS_TRY(check_interrupted());  // else what was not read would be called damaged
    if (!deployment && !is_damage(deployment.error())) {
      return Error(std::move(deployment).error()).with("while reading deployment '" + id + "'");
    }
    if (!deployment) {
      inventory.damaged.push_back(
          {printable(sysroot::deployment_directory(id)), printable(deployment.error().describe())});
    } else if (*deployment) {
      inventory.deployments.push_back(std::move(**deployment));
    }
  }
  std::stable_sort(inventory.deployments.begin(), inventory.deployments.end(),
                   [](const Deployment& a, const Deployment& b) { return a.epoch > b.epoch; });
  CFS_TRY(read_references(cfs, inventory));
  return inventory;
}

Error as_far_as_readable(const Inventory& inventory, Error error) {
  for (const Damage& damage : inventory.damaged) {
    error.context.push_back("cannot read '" + damage.path + "': " + damage.problem);
    if (error.code == ErrorCode::kNothingToDo) error.code = ErrorCode::kCorrupt;
  }
  return error;
}

void update_inventory(Inventory& inventory, const Deployment& changed) {
  bool is_known = false;
  for (Deployment& one : inventory.deployments) {
    if (one.id != changed.id) continue;
    one = changed;
    is_known = true;
  }
  if (!is_known) {
    auto place = std::find_if(inventory.deployments.begin(), inventory.deployments.end(),
                              [&](const Deployment& one) { return one.epoch <= changed.epoch; });
    inventory.deployments.insert(place, changed);
  }
  for (const auto& [role, name] : kRoles) {
    std::optional<Deployment>& slot = reference_to(inventory.references, role);
    if (slot && slot->id == changed.id) slot = changed;
  }
}

Result<> save_deployment(Sysroot& sysroot, const Deployment& deployment) {
  const Directory& cfs = sysroot.directory();
  const std::string directory = sysroot::deployment_directory(deployment.id);
  const std::string path = sysroot::record_path(deployment.id);
  CFS_TRY(cfs.make_directories(directory, sysroot::mode_of(directory, true)));
  CFS_TRY(cfs.write_file(path, as_bytes(json::to_canonical(to_json(deployment)) + "\n"),
                         sysroot::mode_of(path, false)));
  return cfs.sync(sysroot::kDeployments);
}

Result<std::string> unused_id(const Sysroot& sysroot, const verity::Digest& image) {
  for (unsigned serial = 0;; ++serial) {
    std::string id = image.hex().substr(0, 12) + "." + std::to_string(serial);
    Result<std::optional<Deployment>> there = read_deployment(sysroot.directory(), id);
    if (there ? !*there : there.error().code == ErrorCode::kNotFound) return id;
    CFS_TRY(check_interrupted());
  }
}

Result<> set_reference(Sysroot& sysroot, Role role, const Deployment& deployment) {
  return sysroot.directory().write_symlink(path_of(role), sysroot::reference_target(deployment.id));
}

Result<> remove_reference(Sysroot& sysroot, Role role) {
  CFS_TRY(sysroot.directory().remove_file(path_of(role)));
  return sysroot.directory().sync(sysroot::kReferences);
}

}  // namespace cfs::deployer
