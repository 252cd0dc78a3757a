// SPDX-License-Identifier: Apache-2.0
// The order matters: measure, mount, test, check the disk, and only then make it writable, set up
// state and tell anybody. Everything is assembled below /run/cfs, because layers have to be real
// paths in this mount namespace (kernels before 6.15), and moved over `target` at the end.
#include "initramfs/compose_root.h"

#include <limits.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "initramfs/disk_check.h"
#include "lib/base/io.h"
#include "lib/mount/composefs_mount.h"
#include "lib/mount/fs_context.h"
#include "lib/mount/self_test.h"
#include "lib/sysroot/layout.h"

namespace cfs::initramfs {
namespace {

using mount::Backing;
using mount::FsContext;

constexpr uint64_t kNoPrivileges = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
constexpr char kRunDirectory[] = "/run/cfs";
constexpr char kImageMount[] = "/run/cfs/image";
constexpr char kRoot[] = "/run/cfs/root";
constexpr char kEtcUpper[] = "/run/cfs/etc/upper";
constexpr char kEtcWork[] = "/run/cfs/etc/work";

// "cfs/" and a path of lib/sysroot/layout.h.
std::string below_sysroot(const std::string& path) {
  return std::string(sysroot::kSysrootDirectory) + "/" + path;
}

Result<Backing> mount_root(int image_fd, const std::string& target,
                           const kernel_cmdline::BootOptions& options, Backing backing) {
  mount::ComposefsOptions mount_options;
  mount_options.object_directories = {target + "/" + below_sysroot(sysroot::kObjects)};
  mount_options.expected_digest = options.digest;
  mount_options.source = "cfs:" + options.digest.hex();
  mount_options.staging_directory = kImageMount;
  mount_options.backing = backing;
  return mount::mount_composefs(image_fd, kRoot, mount_options);
}

Result<> check_layout(int root_fd) {
  for (const char* name : {"dev", "etc", "proc", "run", "sys", "var"}) {
    Result<UniqueFd> directory = open_beneath(root_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW);
    if (!directory) {
      return Error(std::move(directory).error())
          .with("the image needs the directory '/" + std::string(name) + "'");
    }
  }
  return {};
}

// A transient /etc: changes live in memory until the next boot. This is the second level of
// stacking, and the kernel allows no third.
Result<> mount_etc(int root_fd) {
  UniqueFd etc = CFS_TRY(open_beneath(root_fd, "etc", O_PATH | O_DIRECTORY));
  struct stat status = CFS_TRY(fstat_fd(etc.get()));
  CFS_TRY(make_directories(AT_FDCWD, kEtcUpper));
  CFS_TRY(make_directories(AT_FDCWD, kEtcWork));
  // The upper directory's owner and mode are what /etc will show.
  if (::chown(kEtcUpper, status.st_uid, status.st_gid) != 0 ||
      ::chmod(kEtcUpper, status.st_mode & 07777) != 0) {
    return errno_error("cannot change '" + std::string(kEtcUpper) + "'");
  }
  std::string target = std::string(kRoot) + "/etc";
  FsContext context = CFS_TRY(FsContext::open("overlay"));
  CFS_TRY(context.set_string("source", "cfs:etc"));
  CFS_TRY(context.set_string("metacopy", "off"));
  CFS_TRY(context.set_string("index", "off"));
  CFS_TRY(context.set_string("lowerdir+", target));
  CFS_TRY(context.set_string("upperdir", kEtcUpper));
  CFS_TRY(context.set_string("workdir", kEtcWork));
  CFS_TRY(context.create());
  UniqueFd mounted = CFS_TRY(context.mount(0));
  return mount::attach(mounted.get(), target);
}

Result<> bind_directory(int sysroot_fd, const std::string& from, const std::string& to,
                        uint64_t attributes) {
  UniqueFd source = CFS_TRY(open_beneath(sysroot_fd, from, O_PATH | O_DIRECTORY));
  UniqueFd bound = CFS_TRY(mount::clone_mount(source.get()));
  CFS_TRY(mount::set_mount_attributes(bound.get(), attributes, MOUNT_ATTR_RDONLY & ~attributes));
  return mount::attach(bound.get(), to);
}

// Anybody may write to /var/tmp. In memory, of bounded size and number of files, it cannot fill the
// file system that updates and services need. `root_fd`: the root, with /var mounted.
Result<> mount_var_tmp(int root_fd) {
  constexpr mode_t kMode = 01777;
  UniqueFd var = CFS_TRY(open_at(root_fd, "var", O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  if (::mkdirat(var.get(), "tmp", kMode) != 0 && errno != EEXIST) {
    return errno_error("cannot make /var/tmp");
  }
  UniqueFd place =
      CFS_TRY_WITH("in /var", open_at(var.get(), "tmp", O_PATH | O_DIRECTORY | O_NOFOLLOW));
  FsContext context = CFS_TRY(FsContext::open("tmpfs"));
  CFS_TRY(context.set_string("source", "cfs:var-tmp"));
  CFS_TRY(context.set_string("mode", "1777"));
  CFS_TRY(context.set_string("size", "25%"));
  CFS_TRY(context.create());
  UniqueFd mounted = CFS_TRY(context.mount(kNoPrivileges));
  return mount::attach_to(mounted.get(), place.get());
}

// The root as it is mounted at kRoot, tested, with its /etc.
struct VerifiedRoot {
  UniqueFd top;  // of the disk's file system
  UniqueFd root;
  Backing backing = Backing::kFile;
};

Result<VerifiedRoot> mount_verified_root(const std::string& target,
                                         const kernel_cmdline::BootOptions& options,
                                         const std::function<void()>& load_loop, Stage& stage) {
  VerifiedRoot verified;
  stage = Stage::kImage;
  verified.top = CFS_TRY(open_at(AT_FDCWD, target, O_PATH | O_DIRECTORY));
  UniqueFd image = CFS_TRY(open_pinned_image(verified.top.get(), options.digest));
  // Measured here for the sake of the failure's name; mount_composefs() does not trust that.
  CFS_TRY(mount::check_image_digest(image.get(), options.digest));

  for (;;) {
    stage = Stage::kMount;
    Result<Backing> mounted = mount_root(image.get(), target, options, verified.backing);
    if (!mounted && mounted.error().code == ErrorCode::kUnsupported) {
      load_loop();
      mounted = mount_root(image.get(), target, options, verified.backing);
    }
    verified.backing = CFS_TRY(std::move(mounted));
    verified.root = CFS_TRY(open_at(AT_FDCWD, kRoot, O_RDONLY | O_DIRECTORY));
    stage = Stage::kSelfTest;
    CFS_TRY(mount::check_verity_required(verified.root.get()));
    CFS_TRY(check_layout(verified.root.get()));
    CFS_TRY(mount::check_program_readable(verified.root.get(), options.init));
    stage = Stage::kState;
    Result<> etc = mount_etc(verified.root.get());
    if (etc) return verified;
    // EINVAL: too many levels of stacking. Kernels 6.12.63 to 6.12.68 count a file-backed EROFS as
    // a level of its own; one on a loop device is none.
    if (verified.backing == Backing::kLoop || etc.error().sys_errno != EINVAL) {
      return Error(std::move(etc).error()).with("while mounting /etc");
    }
    CFS_TRY(mount::detach(kRoot));
    verified.backing = Backing::kLoop;
  }
}

// Takes down the root and mounts the disk again, read-only and with the options that it had, so
// that the kernel reads it anew.
Result<> mount_anew(const std::string& target, const mount::MountInfo& disk) {
  constexpr int kAttempts = 20;
  constexpr useconds_t kPauseMicroseconds = 100'000;
  CFS_TRY(mount::detach(kRoot));
  for (int attempt = 1; ::umount2(target.c_str(), UMOUNT_NOFOLLOW) != 0; ++attempt) {
    // A loop device lets go of its file a moment later.
    if (errno != EBUSY || attempt == kAttempts)
      return errno_error("cannot unmount '" + target + "'");
    ::usleep(kPauseMicroseconds);
  }
  size_t after_access = disk.super_options.find(',');  // "ro" or "rw" comes first
  std::string options = after_access == std::string::npos
                            ? std::string()
                            : disk.super_options.substr(after_access + 1);
  if (::mount(disk.source.c_str(), target.c_str(), disk.type.c_str(), MS_RDONLY, options.c_str()) !=
      0) {
    return errno_error("cannot mount '" + disk.source + "' again");
  }
  return {};
}

Result<> make_writable(const std::string& target) {
  FsContext context = CFS_TRY(FsContext::pick(target));
  CFS_TRY(context.set_flag("rw"));
  return context.reconfigure();
}

std::string json_string(const std::string& text) {
  std::string result = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    if (static_cast<unsigned char>(c) >= ' ') result += c;
  }
  return result + "\"";
}

Result<> write_booted(const kernel_cmdline::BootOptions& options, Backing backing,
                      const std::string& device) {
  std::string text =
      "{\"digest\":\"" + options.digest.hex() + "\",\"etc\":\"transient\",\"image\":" +
      (backing == Backing::kFile ? "\"file\"" : "\"loop\"") +
      ",\"root_device\":" + json_string(device) + ",\"schema\":1,\"verify\":" +
      (options.verify == kernel_cmdline::VerifyLevel::kFull ? "\"full\"" : "\"boot\"") + "}\n";
  return write_file_atomically(AT_FDCWD, std::string(kRunDirectory) + "/booted.json",
                               as_bytes(text));
}

// Tells systemd which disk the root lies on, which it cannot see through an overlay
// (systemd/systemd#35017): it finds the ESP by it.
Result<> write_volatile_root(const std::string& device) {
  struct stat status = CFS_TRY(stat_at(AT_FDCWD, device, 0));
  if (!S_ISBLK(status.st_mode)) {
    return make_error(ErrorCode::kInvalidInput, "'" + device + "' is not a block device");
  }
  CFS_TRY(make_directories(AT_FDCWD, "/run/systemd"));
  std::string target = "/dev/block/" + std::to_string(major(status.st_rdev)) + ":" +
                       std::to_string(minor(status.st_rdev));
  if (::symlink(target.c_str(), "/run/systemd/volatile-root") != 0) {
    return errno_error("cannot create '/run/systemd/volatile-root'");
  }
  return {};
}

// For steps without which the machine is still the verified one, and better up than down.
void warn_unless(const Result<>& result) {
  if (!result) log_warning(result.error().describe());
}

}  // namespace

// What is not listed among the images cannot be booted even if an object has the right digest.
Result<UniqueFd> open_pinned_image(int sysroot_fd, const verity::Digest& digest) {
  UniqueFd top =
      CFS_TRY(open_beneath(sysroot_fd, sysroot::kSysrootDirectory, O_PATH | O_DIRECTORY));
  UniqueFd images = CFS_TRY(open_beneath(top.get(), sysroot::kImages, O_PATH | O_DIRECTORY));
  std::string name = "'" + below_sysroot(sysroot::image_path(digest)) + "'";
  char target[PATH_MAX];
  ssize_t size = ::readlinkat(images.get(), digest.hex().c_str(), target, sizeof(target));
  if (size < 0) return errno_error("cannot read the link " + name);
  if (std::string_view(target, static_cast<size_t>(size)) != sysroot::image_target(digest)) {
    return make_error(ErrorCode::kCorrupt, name + " does not point to its object");
  }
  return open_regular_beneath(top.get(), sysroot::object_path(digest));
}

Result<> compose_root(const std::string& target, const kernel_cmdline::BootOptions& options,
                      const std::function<void()>& load_loop, Stage& stage) {
  stage = Stage::kSetup;
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return errno_error("cannot make the mounts private");
  }
  CFS_TRY(make_directories(AT_FDCWD, kRunDirectory));
  for (const char* directory : {kImageMount, kRoot, "/run/cfs/etc"}) {
    CFS_TRY(make_directories(AT_FDCWD, directory, 0700));
  }

  VerifiedRoot verified = CFS_TRY(mount_verified_root(target, options, load_loop, stage));
  mount::MountInfo disk = CFS_TRY(mount::mount_of(verified.top.get()));
  if (check_disk(disk.source, target, kRoot, verified.root.get())) {
    stage = Stage::kDevice;
    verified = {};
    CFS_TRY(mount_anew(target, disk));
    verified = CFS_TRY(mount_verified_root(target, options, load_loop, stage));
  }
  const auto& [top, root, backing] = verified;

  if (options.verify == kernel_cmdline::VerifyLevel::kFull) {
    stage = Stage::kObjects;
    uint64_t count = CFS_TRY(mount::check_every_file_opens(root.get()));
    log_notice("the objects of all " + std::to_string(count) + " files are right");
  }

  stage = Stage::kState;
  warn_unless(make_writable(target));
  bool is_restricted = options.var == kernel_cmdline::VarMode::kRestricted;
  CFS_TRY_WITH("while mounting /var",
               bind_directory(top.get(), below_sysroot(sysroot::kVar), std::string(kRoot) + "/var",
                              is_restricted ? kNoPrivileges : 0));
  if (is_restricted) warn_unless(mount_var_tmp(root.get()));
  warn_unless(bind_directory(top.get(), ".", std::string(kRoot) + "/sysroot",
                             kNoPrivileges | MOUNT_ATTR_RDONLY));
  CFS_TRY(write_booted(options, backing, disk.source));
  warn_unless(write_volatile_root(disk.source));

  CFS_TRY(mount::detach(target));
  CFS_TRY(mount::move_mount_to(kRoot, target));
  (void)::rmdir(kRoot);
  (void)::rmdir(kImageMount);
  return {};
}

}  // namespace cfs::initramfs
