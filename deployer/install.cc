// SPDX-License-Identifier: Apache-2.0
#include "deployer/install.h"

#include <limits.h>

#include "deployer/sysroot/var.h"
#include "deployer/update.h"
#include "deployer/work_directory.h"
#include "lib/base/io.h"
#include "lib/base/progress.h"
#include "lib/boot/uki.h"
#include "lib/disk/disk_image.h"

namespace cfs::deployer {
namespace {

std::string directory_of(const std::string& path) {
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash + 1);
}

/// A disk image is somebody's machine: none is ever replaced. An empty file (of mktemp) is.
Result<> check_is_free(const std::string& path) {
  auto refuse = [&](ErrorCode code, const std::string& what) {
    return make_error(code, "'" + path + "' " + what);
  };
  if (path.empty() || path.back() == '/') {
    return refuse(ErrorCode::kInvalidInput, "names no file").with_hint("--disk is a file to make");
  }
  if (path.size() - (path.rfind('/') + 1) > NAME_MAX) {
    return refuse(ErrorCode::kInvalidInput, "is too long a name");
  }
  Result<struct stat> there = stat_at(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW);
  if (!there && there.error().code == ErrorCode::kNotFound) return {};
  if (!there) return Error(std::move(there).error());
  if (S_ISREG(there->st_mode)) {
    if (there->st_size == 0) return {};
    return refuse(ErrorCode::kExists, "exists").with_hint("remove it, or choose another name");
  }
  if (S_ISBLK(there->st_mode)) {
    return refuse(ErrorCode::kInvalidInput, "is a block device")
        .with_hint("make a file and copy it: dd if=FILE of=" + path + " bs=4M conv=fsync");
  }
  if (S_ISDIR(there->st_mode)) {
    return refuse(ErrorCode::kInvalidInput, "is a directory").with_hint("add the file's name");
  }
  return refuse(ErrorCode::kInvalidInput, "is not a regular file");
}

/// What the staged ESP holds, and the boot loader itself.
Result<std::vector<disk::EspFile>> esp_files(const std::string& directory, const std::string& entry,
                                             std::string loader) {
  std::vector<disk::EspFile> files;
  files.push_back({boot::kFallbackLoaderPath, std::move(loader)});
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
  CFS_TRY(check_is_free(options.disk));
  CFS_TRY(disk::check_programs());
  std::string loader = CFS_TRY(boot::read_efi_program(boot::kSystemdBootPath));
  const std::string directory = directory_of(options.disk);
  WorkDirectory work =
      CFS_TRY_WITH("while making '" + options.disk + "'", WorkDirectory::create(directory));
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
  plan.esp_files = CFS_TRY(esp_files(esp_directory, deployment.entry, std::move(loader)));
  plan.root_free_bytes = options.free_bytes;
  plan.root_entries = CFS_TRY(disk::entries_of_directory(root, "", plan.source_date_epoch));
  std::erase_if(plan.root_entries,
                [](const disk::RootEntry& entry) { return !belongs_on_disk(entry); });
  for (disk::RootEntry& entry : CFS_TRY(var_entries(sysroot, deployment.digest, "cfs/state/var"))) {
    plan.root_entries.push_back(std::move(entry));
  }
  Progress progress("writing the disk", CFS_TRY(disk::content_bytes(plan)));
  plan.on_progress = [&](uint64_t bytes) { progress.add(bytes); };
  const std::string made = work.path() + "/disk.img";
  CFS_TRY_WITH("while making '" + options.disk + "'", disk::make_disk(plan, made));
  CFS_TRY(check_is_free(options.disk));
  CFS_TRY(rename_at(AT_FDCWD, made, AT_FDCWD, options.disk));
  CFS_TRY(fsync_directory(AT_FDCWD, directory));
  environment.print("wrote " + options.disk + ": " + deployment.name + " " + deployment.version +
                    ", image " + deployment.digest.hex() + "\n");
  return {};
}

}  // namespace cfs::deployer
