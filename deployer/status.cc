// SPDX-License-Identifier: Apache-2.0
#include "deployer/status.h"

#include <sys/sysmacros.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <filesystem>
#include <memory>

#include "deployer/options.h"
#include "deployer/sysroot/running.h"
#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/base/progress.h"
#include "lib/boot/efi_variables.h"
#include "lib/json/canonical.h"

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

}  // namespace

Result<Status> read_status(const Sysroot& sysroot, const Environment& environment) {
  Inventory inventory = CFS_TRY(read_inventory(sysroot));
  std::optional<std::string> selected = CFS_TRY(boot::selected_entry(environment.efi_variables));
  std::optional<Running> running = CFS_TRY(running_system(environment, std::move(selected)));
  Status status{.origin = sysroot.origin(),
                .references = references_now(inventory, running),
                .others = {},
                .pinned = std::move(inventory.pinned),
                .damaged = std::move(inventory.damaged)};
  const References& references = status.references;
  for (Deployment& deployment : inventory.deployments) {
    bool has_role = false;
    for (const auto* role : {&references.booted, &references.staged, &references.previous}) {
      has_role = has_role || (*role && (*role)->id == deployment.id);
    }
    if (!has_role) status.others.push_back(std::move(deployment));
  }
  status.file_system_errors =
      count_file_system_errors(sysroot.directory().fd(), environment.kernel_objects);
  int objects = sysroot.objects().directory_fd();
  for (const verity::Digest& digest : CFS_TRY(sysroot.objects().list())) {
    CFS_TRY(check_interrupted());
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
  std::string text = "origin    " + status.origin.url.shown() + "  " + status.origin.name + "  " +
                     status.origin.channel + "\n";
  text += references.booted ? line("booted", *references.booted) : "booted    none\n";
  if (references.staged) text += line("staged", *references.staged);
  if (references.previous) text += line("previous", *references.previous);
  for (const Deployment& deployment : status.others) text += line("other", deployment);
  for (const Damage& damage : status.damaged) {
    text += "damaged   " + damage.path + ": " + damage.problem + "\n";
  }
  if (status.file_system_errors > 0) {
    text += "disk      " + std::to_string(status.file_system_errors) +
            " errors in the file system; the image's e2fsck checks it at the next boot\n";
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
      {"origin", json::Value::Object{{"url", status.origin.url.shown()},
                                     {"name", status.origin.name},
                                     {"channel", status.origin.channel}}},
      {"booted", role(status.references.booted)},
      {"staged", role(status.references.staged)},
      {"previous", role(status.references.previous)},
      {"others", others},
      {"pinned", pinned},
      {"damaged", damaged},
      {"file_system_errors", status.file_system_errors},
      {"objects",
       json::Value::Object{{"count", status.object_count}, {"size", status.object_bytes}}},
  };
}

RunCommand declare_status(CLI::App& command) {
  struct Arguments {
    std::string sysroot = kDefaultSysroot;
    bool json = false;
  };
  auto arguments = std::make_shared<Arguments>();
  add_sysroot_option(command, arguments->sysroot);
  command.add_flag("--json", arguments->json, "As JSON");
  return [arguments](const Environment& environment) -> Result<int> {
    Sysroot sysroot = CFS_TRY(Sysroot::open(environment, arguments->sysroot, Access::kRead));
    Status status = CFS_TRY(read_status(sysroot, environment));
    environment.print(arguments->json ? json::to_canonical(to_json(status)) + "\n"
                                      : to_text(status));
    return 0;
  };
}

}  // namespace cfs::deployer
