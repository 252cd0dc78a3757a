// SPDX-License-Identifier: Apache-2.0
#include "deployer/install.h"

#include "deployer/update.h"
#include "deployer/var.h"
#include "lib/base/io.h"
#include "lib/base/progress.h"
#include "lib/boot/uki.h"
#include "lib/disk/disk_image.h"

namespace cfs::deploy {
namespace {

/// What the staged ESP holds, and the boot loader itself.
Result<std::vector<disk::EspFile>> esp_files(const std::string& directory,
                                             const std::string& entry) {
  std::vector<disk::EspFile> files;
  files.push_back(
      {boot::kFallbackLoaderPath, CFS_TRY(boot::read_efi_program(boot::kSystemdBootPath))});
  for (const std::string& path :
       {std::string(boot::kUkiDirectory) + "/" + entry, std::string(boot::kLoaderConfPath)}) {
    files.push_back({path, disk::HostFile{directory + "/" + path}});
  }
  return files;
}

/// Not for the device: our lock, and the store's own notes about this machine's files.
bool belongs_on_disk(const disk::RootEntry& entry) {
  constexpr std::string_view kStoreNotes = "cfs/objects/.cfs";
  return entry.path != "cfs/lock" && entry.path != kStoreNotes &&
         !entry.path.starts_with(std::string(kStoreNotes) + "/");
}

}  // namespace

Result<> install(const InstallOptions& options, const Environment& environment) {
  size_t slash = options.disk.rfind('/');
  TemporaryDirectory work = CFS_TRY(TemporaryDirectory::create(
      slash == std::string::npos ? "." : options.disk.substr(0, slash + 1)));
  const std::string root = work.path() + "/root";
  const std::string esp_directory = work.path() + "/esp";
  CFS_TRY(make_directories(AT_FDCWD, root));
  CFS_TRY(make_directories(AT_FDCWD, esp_directory));

  Environment offline = environment;
  offline.verity = store::VerityPolicy::kOffline;
  offline.kernel_command_line = "/dev/null";  // this machine is not the device
  Sysroot sysroot = CFS_TRY(Sysroot::create(offline, root, options.origin, options.root_json));
  MountedEsp esp = CFS_TRY(MountedEsp::open(esp_directory));
  UpdateResult result =
      CFS_TRY(update(sysroot, esp, offline, {.url = options.url, .purpose = Purpose::kDiskImage}));
  const Deployment& deployment = result.staged.value();

  disk::DiskPlan plan;
  plan.seed = deployment.digest.hex();
  plan.source_date_epoch = static_cast<int64_t>(deployment.installed);
  plan.esp_files = CFS_TRY(esp_files(esp_directory, deployment.entry));
  plan.root_free_bytes = options.free_bytes;
  plan.root_entries = CFS_TRY(disk::entries_of_directory(root, "", plan.source_date_epoch));
  std::erase_if(plan.root_entries,
                [](const disk::RootEntry& entry) { return !belongs_on_disk(entry); });
  for (disk::RootEntry& entry : CFS_TRY(var_entries(sysroot, deployment.digest, "cfs/state/var"))) {
    plan.root_entries.push_back(std::move(entry));
  }
  Progress progress("writing the disk", CFS_TRY(disk::content_bytes(plan)));
  plan.on_progress = [&](uint64_t bytes) { progress.add(bytes); };
  CFS_TRY_WITH("while making '" + options.disk + "'", disk::make_disk(plan, options.disk));
  environment.print("wrote " + options.disk + ": " + deployment.name + " " + deployment.version +
                    ", image " + deployment.digest.hex() + "\n");
  return {};
}

}  // namespace cfs::deploy
