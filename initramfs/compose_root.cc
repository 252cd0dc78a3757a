// SPDX-License-Identifier: Apache-2.0
// The order matters: measure, mount, test, check the disk, and only then make it writable, set up
// state and tell anybody. What the image says of its root is read from the tested root. Everything
// is assembled below /run/cfs, because layers have to be real paths in this mount namespace
// (kernels before 6.15), and moved over `target` at the end.
#include "initramfs/compose_root.h"

#include <limits.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "initramfs/disk_check.h"
#include "initramfs/etc.h"
#include "initramfs/reset.h"
#include "lib/base/directory.h"
#include "lib/base/io.h"
#include "lib/kernel_cmdline/root_policy.h"
#include "lib/mount/composefs_mount.h"
#include "lib/mount/fs_context.h"
#include "lib/mount/self_test.h"
#include "lib/sysroot/layout.h"

namespace cfs::initramfs {
namespace {

using kernel_cmdline::EtcMode;
using kernel_cmdline::RootMode;
using kernel_cmdline::RootPolicy;
using mount::Backing;
using mount::FsContext;

constexpr uint64_t kNoPrivileges = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
constexpr int kDirectoryFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
constexpr char kRunDirectory[] = "/run/cfs";
constexpr char kImageMount[] = "/run/cfs/image";
constexpr char kRoot[] = "/run/cfs/root";
// A tmpfs for upper layers in memory. Nobody sees it once they are in use.
constexpr char kMemory[] = "/run/cfs/memory";
// With cfs.etc=ro: the same /etc, writable, for who makes what is kept.
constexpr char kWritableEtc[] = "/run/cfs/etc";

// "cfs/" and a path of lib/sysroot/layout.h.
std::string below_sysroot(const std::string& path) {
  return std::string(sysroot::kSysrootDirectory) + "/" + path;
}

// An upper layer in memory.
struct MemoryLayer {
  std::string upper;
  std::string work;
};

Result<MemoryLayer> make_memory_layer(const std::string& name) {
  if (!stat_at(AT_FDCWD, kMemory, 0)) {
    CFS_TRY(make_directories(AT_FDCWD, kMemory, 0700));
    FsContext context = CFS_TRY(FsContext::open("tmpfs"));
    CFS_TRY(context.set_string("source", "cfs:memory"));
    CFS_TRY(context.set_string("mode", "0700"));
    CFS_TRY(context.create());
    UniqueFd mounted = CFS_TRY(context.mount(0));
    CFS_TRY(mount::attach(mounted.get(), kMemory));
  }
  std::string directory = std::string(kMemory) + "/" + name;
  MemoryLayer layer{.upper = directory + "/upper", .work = directory + "/work"};
  CFS_TRY(make_directories(AT_FDCWD, layer.upper));
  CFS_TRY(make_directories(AT_FDCWD, layer.work));
  return layer;
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

// The root as it is mounted at kRoot, tested.
struct VerifiedRoot {
  UniqueFd top;  // of the disk's file system
  UniqueFd root;
  Backing backing = Backing::kFile;
};

// Mounts the pinned root at kRoot and takes it down again, in one way or another.
class RootMounter {
 public:
  RootMounter(const std::string& target, const kernel_cmdline::BootOptions& options,
              const std::function<void()>& load_loop, Stage& stage)
      : target_(target), options_(options), load_loop_(load_loop), stage_(stage) {}

  // `layer`: what makes the root writable.
  Result<VerifiedRoot> mount(const std::optional<MemoryLayer>& layer = std::nullopt) {
    VerifiedRoot verified;
    stage_ = Stage::kImage;
    verified.top = CFS_TRY(open_at(AT_FDCWD, target_, O_PATH | O_DIRECTORY));
    UniqueFd image = CFS_TRY(open_pinned_image(verified.top.get(), options_.digest));
    // Measured here for the sake of the failure's name; mount_composefs() does not trust that.
    CFS_TRY(mount::check_image_digest(image.get(), options_.digest));

    stage_ = Stage::kMount;
    Result<Backing> mounted = mount_image(image.get(), layer);
    if (!mounted && mounted.error().code == ErrorCode::kUnsupported) {
      load_loop_();
      mounted = mount_image(image.get(), layer);
    }
    backing_ = verified.backing = CFS_TRY(std::move(mounted));
    verified.root = CFS_TRY(open_at(AT_FDCWD, kRoot, O_RDONLY | O_DIRECTORY));
    stage_ = Stage::kSelfTest;
    CFS_TRY(mount::check_verity_required(verified.root.get()));
    CFS_TRY(check_layout(verified.root.get()));
    CFS_TRY(mount::check_program_readable(verified.root.get(), options_.init));
    return verified;
  }

  // As mount(), with the image on a loop device, in the place of what is mounted.
  Result<VerifiedRoot> mount_with_loop(const std::optional<MemoryLayer>& layer) {
    CFS_TRY(mount::detach(kRoot));
    backing_ = Backing::kLoop;
    return mount(layer);
  }

 private:
  Result<Backing> mount_image(int image_fd, const std::optional<MemoryLayer>& layer) const {
    mount::ComposefsOptions mount_options;
    mount_options.object_directories = {target_ + "/" + below_sysroot(sysroot::kObjects)};
    mount_options.expected_digest = options_.digest;
    mount_options.source = "cfs:" + options_.digest.hex();
    mount_options.staging_directory = kImageMount;
    mount_options.backing = backing_;
    if (layer) {
      mount_options.access = mount::Access::kReadWrite;
      mount_options.upper_directory = layer->upper;
      mount_options.work_directory = layer->work;
    }
    return mount::mount_composefs(image_fd, kRoot, mount_options);
  }

  const std::string& target_;
  const kernel_cmdline::BootOptions& options_;
  const std::function<void()>& load_loop_;
  Stage& stage_;
  Backing backing_ = Backing::kFile;
};

// What the image says of its root, and the kernel command line.
Result<RootPolicy> read_policy(int root_fd, const kernel_cmdline::BootOptions& options,
                               Stage& stage) {
  stage = Stage::kSelfTest;
  RootPolicy policy = kernel_cmdline::default_root_policy();
  Result<UniqueFd> file = mount::open_in_root(root_fd, kernel_cmdline::kRootPolicyPath, O_RDONLY);
  if (file) {
    policy = CFS_TRY(kernel_cmdline::parse_root_policy(
        CFS_TRY(read_fd(file->get(), kernel_cmdline::kMaxRootPolicyBytes))));
  } else if (file.error().code != ErrorCode::kNotFound) {
    return Error(std::move(file).error());
  }
  stage = Stage::kCommandLine;
  return kernel_cmdline::tightened(std::move(policy), options);
}

// An upper layer for the writable root, with owner and mode of the image's.
Result<MemoryLayer> make_root_layer(int root_fd) {
  MemoryLayer layer = CFS_TRY(make_memory_layer("root"));
  struct stat status = CFS_TRY(fstat_fd(root_fd));
  if (::chown(layer.upper.c_str(), status.st_uid, status.st_gid) != 0 ||
      ::chmod(layer.upper.c_str(), status.st_mode & 07777) != 0) {
    return errno_error("cannot change '" + layer.upper + "'");
  }
  return layer;
}

// What is mounted at /etc, with absolute paths.
struct EtcMount {
  std::string tree;          // this directory; empty: an overlay
  std::string lower;         // a layer between the upper one and the image's /etc; empty: none
  bool hides_image = false;  // the image's /etc is not one of the layers
  std::string upper;
  std::string work;
};

// `writable`: whether the disk is, or why not.
Result<EtcMount> make_etc_ready(const std::string& target, const Directory& cfs, int image_etc_fd,
                                const verity::Digest& digest, const RootPolicy& policy,
                                Result<> writable) {
  const std::string path = target + "/" + below_sysroot(sysroot::kEtc) + "/";
  auto on_disk = [&]() -> Result<EtcMount> {
    CFS_TRY(std::move(writable));
    Etc etc = CFS_TRY(prepare_etc(cfs, image_etc_fd, digest, policy));
    EtcMount result;
    if (!etc.tree.empty()) {
      result.tree = path + etc.tree;
    } else {
      result.upper = path + etc.upper;
      result.work = path + etc.work;
    }
    return result;
  };
  auto in_memory = [&]() -> Result<EtcMount> {
    MemoryLayer layer = CFS_TRY(make_memory_layer("etc"));
    UniqueFd upper = CFS_TRY(open_at(AT_FDCWD, layer.upper, O_RDONLY | O_DIRECTORY));
    std::string lower =
        CFS_TRY(prepare_etc_in_memory(cfs, upper.get(), image_etc_fd, digest, policy));
    EtcMount result;
    if (!lower.empty()) result.lower = path + lower;
    result.hides_image = policy.etc == EtcMode::kMerge;
    result.upper = layer.upper;
    result.work = layer.work;
    return result;
  };
  Result<EtcMount> result = on_disk();
  if (result) return result;
  // Better up with what there is than down.
  Result<EtcMount> memory = in_memory();
  if (!memory) return result;
  log_warning("changes to /etc are lost at the next boot: " + result.error().describe());
  return memory;
}

// The overlay on /etc is the second level of stacking, and the kernel allows no third.
Result<> mount_etc(const EtcMount& etc, EtcMode mode) {
  const std::string target = std::string(kRoot) + "/etc";
  if (!etc.tree.empty()) {
    UniqueFd tree = CFS_TRY(open_at(AT_FDCWD, etc.tree, O_PATH | O_DIRECTORY | O_NOFOLLOW));
    UniqueFd bound = CFS_TRY(mount::clone_mount(tree.get()));
    CFS_TRY(mount::set_mount_attributes(bound.get(), kNoPrivileges, 0));
    return mount::attach(bound.get(), target);
  }
  FsContext context = CFS_TRY(FsContext::open("overlay"));
  CFS_TRY(context.set_string("source", "cfs:etc"));
  // Nothing that the upper layer says may lead elsewhere: nobody vouches for it.
  CFS_TRY(context.set_string("metacopy", "off"));
  CFS_TRY(context.set_string("redirect_dir", "nofollow"));
  CFS_TRY(context.set_string("index", "off"));
  if (!etc.lower.empty()) CFS_TRY(context.set_string("lowerdir+", etc.lower));
  if (!etc.hides_image) CFS_TRY(context.set_string("lowerdir+", target));
  CFS_TRY(context.set_string("upperdir", etc.upper));
  CFS_TRY(context.set_string("workdir", etc.work));
  CFS_TRY(context.create());
  UniqueFd mounted = CFS_TRY(context.mount(kNoPrivileges));
  if (mode == EtcMode::kReadOnly) {
    // Only what is attached can be cloned (kernels before 6.15).
    CFS_TRY(make_directories(AT_FDCWD, kWritableEtc));
    CFS_TRY(mount::attach(mounted.get(), kWritableEtc));
    UniqueFd read_only = CFS_TRY(mount::clone_mount(mounted.get()));
    CFS_TRY(mount::set_mount_attributes(read_only.get(), MOUNT_ATTR_RDONLY, 0));
    return mount::attach(read_only.get(), target);
  }
  return mount::attach(mounted.get(), target);
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
  CFS_TRY(context.reconfigure());
  // initramfs-tools makes the mount itself read-only too.
  UniqueFd top = CFS_TRY(open_at(AT_FDCWD, target, O_PATH | O_DIRECTORY));
  return mount::set_mount_attributes(top.get(), 0, MOUNT_ATTR_RDONLY);
}

std::string json_string(const std::string& text) {
  std::string result = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    if (static_cast<unsigned char>(c) >= ' ') result += c;
  }
  return result + "\"";
}

Result<> write_booted(const kernel_cmdline::BootOptions& options, const RootPolicy& policy,
                      Backing backing, const std::string& device) {
  std::string text =
      "{\"digest\":\"" + options.digest.hex() +
      "\",\"etc\":" + json_string(std::string(kernel_cmdline::etc_mode_name(policy.etc))) +
      ",\"image\":" + (backing == Backing::kFile ? "\"file\"" : "\"loop\"") +
      ",\"root\":" + json_string(std::string(kernel_cmdline::root_mode_name(policy.root))) +
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
  for (const char* directory : {kImageMount, kRoot}) {
    CFS_TRY(make_directories(AT_FDCWD, directory, 0700));
  }

  RootMounter mounter(target, options, load_loop, stage);
  VerifiedRoot verified = CFS_TRY(mounter.mount());
  mount::MountInfo disk = CFS_TRY(mount::mount_of(verified.top.get()));
  if (check_disk(disk.source, target, kRoot, verified.root.get())) {
    stage = Stage::kDevice;
    verified = {};
    CFS_TRY(mount_anew(target, disk));
    verified = CFS_TRY(mounter.mount());
  }
  const RootPolicy policy = CFS_TRY(read_policy(verified.root.get(), options, stage));

  if (options.verify == kernel_cmdline::VerifyLevel::kFull) {
    stage = Stage::kObjects;
    uint64_t count = CFS_TRY(mount::check_every_file_opens(verified.root.get()));
    log_notice("the objects of all " + std::to_string(count) + " files are right");
  }

  stage = Stage::kState;
  std::optional<MemoryLayer> layer;
  if (policy.root == RootMode::kTransient) {
    layer = CFS_TRY(make_root_layer(verified.root.get()));
    verified.root.reset();
    CFS_TRY(mount::detach(kRoot));
    verified = CFS_TRY(mounter.mount(layer));
    stage = Stage::kState;
  }
  Result<> writable = make_writable(target);
  warn_unless(writable);
  if (writable) warn_unless(reset_state(verified.top.get(), verified.root.get(), policy));
  EtcMount etc;
  {
    Directory cfs(
        CFS_TRY(open_beneath(verified.top.get(), sysroot::kSysrootDirectory, kDirectoryFlags)));
    UniqueFd image_etc = CFS_TRY(open_beneath(verified.root.get(), "etc", kDirectoryFlags));
    etc = CFS_TRY_WITH(
        "while making /etc ready",
        make_etc_ready(target, cfs, image_etc.get(), options.digest, policy, std::move(writable)));
  }
  Result<> mounted = mount_etc(etc, policy.etc);
  // EINVAL: too many levels of stacking. Kernels 6.12.63 to 6.12.68 count a file-backed EROFS as a
  // level of its own; one on a loop device is none.
  if (!mounted && verified.backing == Backing::kFile && mounted.error().sys_errno == EINVAL) {
    verified.root.reset();
    verified = CFS_TRY(mounter.mount_with_loop(layer));
    stage = Stage::kState;
    mounted = mount_etc(etc, policy.etc);
  }
  CFS_TRY_WITH("while mounting /etc", std::move(mounted));
  const auto& [top, root, backing] = verified;
  bool is_restricted = options.var == kernel_cmdline::VarMode::kRestricted;
  CFS_TRY_WITH("while mounting /var",
               bind_directory(top.get(), below_sysroot(sysroot::kVar), std::string(kRoot) + "/var",
                              is_restricted ? kNoPrivileges : 0));
  if (is_restricted) warn_unless(mount_var_tmp(root.get()));
  warn_unless(bind_directory(top.get(), ".", std::string(kRoot) + "/sysroot",
                             kNoPrivileges | MOUNT_ATTR_RDONLY));
  CFS_TRY(write_booted(options, policy, backing, disk.source));
  warn_unless(write_volatile_root(disk.source));

  if (stat_at(AT_FDCWD, kMemory, 0)) CFS_TRY(mount::detach(kMemory));
  CFS_TRY(mount::detach(target));
  CFS_TRY(mount::move_mount_to(kRoot, target));
  (void)::rmdir(kRoot);
  (void)::rmdir(kImageMount);
  (void)::rmdir(kMemory);
  return {};
}

}  // namespace cfs::initramfs
