// SPDX-License-Identifier: Apache-2.0
#include "deployer/status.h"

#include <algorithm>

#include "lib/base/io.h"
#include "lib/base/progress.h"

namespace cfs::deployer {

Result<Status> read_status(const Sysroot& sysroot, const Environment& environment) {
  Status status;
  status.origin = sysroot.origin();
  status.references = CFS_TRY(references_now(sysroot, environment));
  status.pinned = CFS_TRY(sysroot.pinned());
  const References& references = status.references;
  Inventory inventory = CFS_TRY(sysroot.inventory());
  status.damaged = std::move(inventory.damaged);
  for (Deployment& deployment : inventory.deployments) {
    bool has_role = false;
    for (const auto* role : {&references.booted, &references.staged, &references.previous}) {
      has_role = has_role || (*role && (*role)->id == deployment.id);
    }
    if (!has_role) status.others.push_back(std::move(deployment));
  }
  int objects = sysroot.objects().directory_fd();
  for (const verity::Digest& digest : CFS_TRY(sysroot.objects().list())) {
    struct stat file = CFS_TRY(stat_at(objects, digest.object_path(), AT_SYMLINK_NOFOLLOW));
    ++status.object_count;
    status.object_bytes += static_cast<uint64_t>(file.st_size);
  }
  return status;
}

std::string to_text(const Status& status) {
  auto line = [&](std::string_view role, const Deployment& deployment) {
    std::string text(role);
    text.resize(10, ' ');
    text += deployment.name + " " + deployment.version + " (epoch " +
            std::to_string(deployment.epoch) + ", " + deployment.channel + ")  " + deployment.id +
            "  " + std::string(state_name(deployment.state));
    if (std::count(status.pinned.begin(), status.pinned.end(), deployment.id) > 0) {
      text += "  pinned";
    }
    return text + "\n          image " + deployment.digest.hex() + "\n";
  };
  const References& references = status.references;
  std::string text = "origin    " + status.origin.url + "  " + status.origin.name + "  " +
                     status.origin.channel + "\n";
  text += references.booted ? line("booted", *references.booted) : "booted    none\n";
  if (references.staged) text += line("staged", *references.staged);
  if (references.previous) text += line("previous", *references.previous);
  for (const Deployment& deployment : status.others) text += line("other", deployment);
  for (const Damage& damage : status.damaged) {
    text += "damaged   " + damage.path + ": " + damage.problem + "\n";
  }
  return text + "objects   " + std::to_string(status.object_count) + ", " +
         format_bytes(status.object_bytes) + "\n";
}

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
  return json::Value::Object{
      {"schema", 1},
      {"origin", json::Value::Object{{"url", status.origin.url},
                                     {"name", status.origin.name},
                                     {"channel", status.origin.channel}}},
      {"booted", role(status.references.booted)},
      {"staged", role(status.references.staged)},
      {"previous", role(status.references.previous)},
      {"others", others},
      {"pinned", pinned},
      {"damaged", damaged},
      {"objects",
       json::Value::Object{{"count", status.object_count}, {"size", status.object_bytes}}},
  };
}

}  // namespace cfs::deployer
