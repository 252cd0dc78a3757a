// SPDX-License-Identifier: Apache-2.0
#include "deployer/install.h"

#include <limits.h>

#include <charconv>
#include <limits>
#include <memory>

#include "deployer/options.h"
#include "deployer/update.h"
#include "lib/base/free_space.h"
#include "lib/base/io.h"
#include "lib/base/progress.h"
#include "lib/base/relative_path.h"
#include "lib/base/work_directory.h"
#include "lib/boot/systemd_boot.h"
#include "lib/boot/uki.h"
#include "lib/disk/disk_image.h"
#include "lib/sysroot/layout.h"

namespace cfs::deployer {
namespace {

constexpr mode_t kPermissions = 07777;

/// Fails unless a disk image can be made under the name `path`. A disk image is somebody's machine
/// and never replaced. An empty file (of mktemp) is replaced; its mode is returned then.
Result<std::optional<mode_t>> check_is_free(const std::string& path) {
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
  if (!there && there.error().code == ErrorCode::kNotFound) return std::optional<mode_t>();
  if (!there) return Error(std::move(there).error());
  if (S_ISREG(there->st_mode)) {
    if (there->st_size == 0) return std::optional(there->st_mode & kPermissions);
    return refuse(ErrorCode::kExists, "exists").with_hint("remove it, or choose another name");
  }
  if (S_ISBLK(there->st_mode)) {
    return refuse(ErrorCode::kInvalidInput, "is a block device")
        .with_hint("make a file and copy it: 'dd if=FILE of=" + path + " bs=4M conv=fsync'");
  }
  if (S_ISDIR(there->st_mode)) {
    return refuse(ErrorCode::kInvalidInput, "is a directory").with_hint("add the file's name");
  }
  return refuse(ErrorCode::kInvalidInput, "is not a regular file");
}

/// What the staged ESP holds, and the boot loader itself.
std::vector<disk::EspFile> esp_files(const std::string& directory, const std::string& entry,
                                     std::string loader) {
  std::vector<disk::EspFile> files;
  files.push_back({boot::kFallbackLoaderPath, std::move(loader)});
  for (const std::string& path : {std::string(boot::kUkiDirectory) + "/" + entry + ".efi",
                                  std::string(boot::kLoaderConfPath)}) {
    files.push_back({path, disk::HostFile{directory + "/" + path}});
  }
  return files;
}

/// A path of the disk, seen from the sysroot's directory; nothing when it is not below that.
std::optional<std::string> path_in_sysroot(const std::string& path) {
  const std::string top = sysroot::kSysrootDirectory;
  if (path == top) return "";
  if (!path.starts_with(top + "/")) return std::nullopt;
  return path.substr(top.size() + 1);
}

/// Not for the device: our lock, and the store's own notes about this machine's files.
bool belongs_on_disk(const std::string& path) {
  const std::string store_notes = std::string(sysroot::kObjects) + "/.cfs";
  return path != sysroot::kLock && path != store_notes && !path.starts_with(store_notes + "/");
}

/// What the temporary sysroot holds, with the modes that a device has; nothing is taken from this
/// machine but content.
Result<std::vector<disk::RootEntry>> root_entries(const std::string& root, int64_t mtime_seconds) {
  std::vector<disk::RootEntry> entries =
      CFS_TRY(disk::entries_of_directory(root, "", mtime_seconds));
  std::erase_if(entries, [](const disk::RootEntry& entry) {
    std::optional<std::string> path = path_in_sysroot(entry.path);
    return path && !belongs_on_disk(*path);
  });
  for (disk::RootEntry& entry : entries) {
    std::optional<std::string> path = path_in_sysroot(entry.path);
    mode_t permissions = S_ISLNK(entry.mode) ? 0777
                         : path              ? sysroot::mode_of(*path, S_ISDIR(entry.mode))
                                             : 0755;
    entry.mode = (entry.mode & S_IFMT) | permissions;
  }
  return entries;
}

/// Both the temporary sysroot and the disk image lie in `directory`.
Result<> check_room(const std::string& directory, const Plan& plan, uint64_t uki_bytes,
                    uint64_t free_bytes) {
  UniqueFd fd = CFS_TRY(open_at(AT_FDCWD, directory, O_RDONLY | O_DIRECTORY));
  const uint64_t staged_bytes = plan.disk_bytes + uki_bytes;
  return require_space(
      fd.get(), "the file system of '" + directory + "'",
      staged_bytes + kMarginBytes + disk::occupied_bytes(plan.disk_bytes, uki_bytes, free_bytes),
      plan.inodes + kMarginInodes);
}

/// "1073741824", "1GiB", "1gb", "1G": powers of 1024.
std::optional<uint64_t> parse_size(std::string_view text) {
  uint64_t number = 0;
  auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failure != std::errc()) return std::nullopt;
  std::string unit(end, text.data() + text.size());
  for (char& c : unit) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  for (unsigned power = 0; power <= 4; ++power) {
    const std::string prefix = std::string("kmgt").substr(power == 0 ? 4 : power - 1, 1);
    if (unit != prefix && unit != prefix + "b" && (power == 0 || unit != prefix + "ib")) continue;
    if (number > std::numeric_limits<uint64_t>::max() >> (10 * power)) return std::nullopt;
    return number << (10 * power);
  }
  return std::nullopt;
}

std::string check_free(const std::string& text) {
  std::optional<uint64_t> bytes = parse_size(text);
  if (bytes && *bytes <= disk::kMaxRootFreeBytes) return "";
  return "'" + text + "' is not a size from 0 to 1TiB, as 2GiB or 512MiB";
}

}  // namespace

Result<> install(const InstallOptions& options, const Environment& environment) {
  CFS_TRY(check_is_free(options.disk));
  CFS_TRY(disk::check_programs());
  std::string loader = CFS_TRY(boot::read_efi_program(boot::kSystemdBootPath));
  const std::string directory = split_path(options.disk).directory;
  WorkDirectory work = CFS_TRY_WITH("while making '" + options.disk + "'",
                                    WorkDirectory::create(AT_FDCWD, directory, kWorkPrefix));
  const std::string root = work.path() + "/root";
  const std::string esp_directory = work.path() + "/esp";
  CFS_TRY(make_directories(AT_FDCWD, root));
  CFS_TRY(make_directories(AT_FDCWD, esp_directory));

  Environment offline = environment;
  offline.verity = store::VerityPolicy::kOffline;
  offline.kernel_command_line = "/dev/null";  // this machine is not the device
  offline.efi_variables = esp_directory + "/efivars";
  Sysroot sysroot =
      CFS_TRY(Sysroot::create(offline, root, options.origin, options.root_json, options.board));
  boot::SystemdBoot esp =
      CFS_TRY(boot::SystemdBoot::open(AT_FDCWD, esp_directory, offline.efi_variables));
  UpdateResult result =
      CFS_TRY(update(sysroot, esp, offline,
                     {.urls = {options.url},
                      .purpose = Purpose::kDiskImage,
                      .check_room = [&](const Plan& plan, uint64_t uki_bytes) {
                        return check_room(directory, plan, uki_bytes, options.free_bytes);
                      }}));
  const Deployment& deployment = result.deployment.value();
  if (options.recovery) CFS_TRY(set_reference(sysroot, Role::kRecovery, deployment));

  disk::DiskPlan plan;
  plan.seed = deployment.digest.hex();
  plan.source_date_epoch = static_cast<int64_t>(deployment.installed);
  plan.esp_files = esp_files(esp_directory, deployment.entry, std::move(loader));
  plan.root_free_bytes = options.free_bytes;
  plan.root_entries = CFS_TRY(root_entries(root, plan.source_date_epoch));
  const std::string made = work.path() + "/disk.img";
  {
    Progress progress("writing the disk", CFS_TRY(disk::content_bytes(plan)));
    plan.on_progress = [&](uint64_t bytes) { progress.add(bytes); };
    CFS_TRY_WITH("while making '" + options.disk + "'", disk::make_disk(plan, made));
  }
  if (std::optional<mode_t> mode = CFS_TRY(check_is_free(options.disk))) {
    if (::chmod(made.c_str(), *mode) != 0) return errno_error("cannot chmod '" + made + "'");
  }
  CFS_TRY(rename_at(AT_FDCWD, made, AT_FDCWD, options.disk));
  CFS_TRY(fsync_directory(AT_FDCWD, directory));
  environment.print("wrote " + options.disk + ": " + deployment.name + " " + deployment.version +
                    ", image " + deployment.digest.hex() + "\n");
  return {};
}

RunCommand declare_install(CLI::App& command) {
  struct Arguments {
    std::string disk;
    ReleaseOptions releases;
    std::optional<net::Url> device_url;
    std::string free = "1GiB";
    bool recovery = false;
  };
  auto arguments = std::make_shared<Arguments>();
  add_value(command, "--disk", arguments->disk, "File to make; must not exist, or be empty",
            Presence::kRequired);
  add_release_options(command, arguments->releases);
  add_url_option(command, "--device-url", "Where the device finds updates (as --url)",
                 arguments->device_url);
  add_flag(command, "--recovery", arguments->recovery,
           "Keep the release for ever: it boots when nothing else does");
  add_value(command, "--free", arguments->free,
            "Room on the root file system besides that for one more release: bytes, or with "
            "K, M, G, T (powers of 1024), at most 1TiB",
            Presence::kOptional, check_free);
  return [arguments](const Environment& environment) -> Result<Answer> {
    Origin origin = arguments->releases.origin();
    const net::Url url = origin.url;
    if (arguments->device_url) origin.url = *arguments->device_url;
    std::string root = CFS_TRY(arguments->releases.read_root());
    CFS_TRY(install({.disk = arguments->disk,
                     .url = url,
                     .origin = std::move(origin),
                     .root_json = std::move(root),
                     .recovery = arguments->recovery,
                     .board = arguments->releases.board,
                     .free_bytes = parse_size(arguments->free).value()},
                    environment));
    return Answer();
  };
}

}  // namespace cfs::deployer
