// SPDX-License-Identifier: Apache-2.0
// A composefs mount is an overlayfs with two lower layers: the image (an EROFS that holds names,
// metadata and, in xattrs, the digest of each file's content) and below it the object store as a
// "data-only" layer that has no names of its own. The EROFS has to be mounted at a real path while
// the overlay is put together (kernels before 6.15 take layers by path only) and is detached as
// soon as the overlay holds it.
#include "lib/mount/composefs_mount.h"

#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

#include "lib/base/check.h"
#include "lib/base/io.h"
#include "lib/base/little_endian.h"
#include "lib/mount/fs_context.h"
#include "lib/mount/loop_device.h"
#include "lib/verity/kernel.h"

namespace cfs::mount {
namespace {

// Composefs header at offset 0 of the image. Spec: COMPOSEFS-FORMAT.md §2.1.
struct ImageHeader {
  le32 magic;              // 0
  le32 version;            // 4
  le32 flags;              // 8
  le32 composefs_version;  // 12
  le32 unused[4];          // 16
};
static_assert(sizeof(ImageHeader) == 32);

constexpr uint32_t kImageMagic = 0xd078629a;
constexpr uint32_t kImageVersion = 1;
constexpr uint32_t kFlagHasAcl = 1;

Result<ImageHeader> read_header(int image_fd) {
  ImageHeader header;
  size_t count =
      CFS_TRY_WITH("while reading the image's header",
                   pread_full(image_fd, std::as_writable_bytes(std::span(&header, 1)), 0));
  if (count < sizeof(header) || header.magic != kImageMagic) {
    return make_error(ErrorCode::kCorrupt, "the file is not a composefs image");
  }
  if (header.version != kImageVersion) {
    return make_error(ErrorCode::kUnsupported, "composefs image of an unknown version (" +
                                                   std::to_string(header.version) + ")");
  }
  return header;
}

// Where the EROFS is attached while the overlay is put together.
class Staging {
 public:
  static Result<Staging> create(const std::string& directory) {
    if (!directory.empty()) return Staging(directory, /*owned=*/false);
    std::string path = "/tmp/.composefs.XXXXXX";
    if (::mkdtemp(path.data()) == nullptr) return errno_error("cannot create '" + path + "'");
    return Staging(std::move(path), /*owned=*/true);
  }
  Staging(Staging&& other) noexcept
      : path_(std::move(other.path_)), owned_(other.owned_), mounted_(other.mounted_) {
    other.owned_ = other.mounted_ = false;
  }
  Staging& operator=(Staging&&) = delete;
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;
  ~Staging() {
    if (mounted_) (void)detach(path_);
    if (owned_) (void)::rmdir(path_.c_str());
  }
  [[nodiscard]] const std::string& path() const { return path_; }
  void set_mounted() { mounted_ = true; }

 private:
  Staging(std::string path, bool owned) : path_(std::move(path)), owned_(owned) {}
  std::string path_;
  bool owned_ = false;
  bool mounted_ = false;
};

enum class Acl { kOn, kOff };

Result<> mount_erofs(const std::string& source, Acl acl, int user_namespace_fd,
                     const std::string& target) {
  FsContext context = CFS_TRY(FsContext::open("erofs"));
  CFS_TRY(context.set_flag("ro"));
  CFS_TRY(context.set_string("source", source));
  if (acl == Acl::kOff) CFS_TRY(context.set_flag("noacl"));
  CFS_TRY(context.create());
  UniqueFd mount_fd = CFS_TRY(context.mount(MOUNT_ATTR_RDONLY));
  if (user_namespace_fd >= 0) {
    CFS_TRY_WITH("while mapping ids",
                 set_mount_attributes(mount_fd.get(), MOUNT_ATTR_IDMAP, 0, user_namespace_fd));
  }
  return attach(mount_fd.get(), target);
}

Result<Backing> mount_image(int image_fd, Acl acl, const ComposefsOptions& options,
                            const std::string& target) {
  if (options.backing == Backing::kFile) {
    Result<> mounted = mount_erofs("/proc/self/fd/" + std::to_string(image_fd), acl,
                                   options.user_namespace_fd, target);
    if (mounted) return Backing::kFile;
    // ENOTBLK: this kernel mounts EROFS from block devices only.
    if (mounted.error().sys_errno != ENOTBLK) return Error(std::move(mounted).error());
  }
  LoopDevice loop = CFS_TRY(attach_loop_device(image_fd));
  CFS_TRY(mount_erofs(loop.path, acl, options.user_namespace_fd, target));
  return Backing::kLoop;
}

// What the new interface could not do, and whether the old one is worth a try.
struct NewInterfaceFailure {
  Error error;
  bool try_old_interface;
};

std::optional<NewInterfaceFailure> mount_overlay_new(const std::string& image_mount,
                                                     const std::string& target,
                                                     const ComposefsOptions& options) {
  auto fails = [](Result<>&& result, bool try_old_interface) {
    return NewInterfaceFailure{std::move(result).error(), try_old_interface};
  };
  // EINVAL from a layer option or from creation is what kernels that lack the option, or see it
  // differently through the old interface, answer.
  auto fails_by_errno = [](Result<>&& result) {
    bool invalid = result.error().sys_errno == EINVAL;
    return NewInterfaceFailure{std::move(result).error(), invalid};
  };

  Result<FsContext> context = FsContext::open("overlay");
  if (!context) {
    bool no_interface = context.error().sys_errno == ENOSYS;
    return NewInterfaceFailure{std::move(context).error(), no_interface};
  }
  // Where overlayfs only has the old option parser, fsconfig stores every option unseen.
  if (context->set_string("cfs-probe-unknown-option", "1")) {
    return NewInterfaceFailure{
        make_error(ErrorCode::kUnsupported, "overlay: no new mount interface"), true};
  }
  if (Result<> set = context->set_string("source", options.source); !set)
    return fails(std::move(set), false);
  if (Result<> set = context->set_string("metacopy", "on"); !set)
    return fails(std::move(set), false);
  if (Result<> set = context->set_string("redirect_dir", "on"); !set)
    return fails(std::move(set), false);
  if (options.verity != Verity::kNone) {
    Result<> set = context->set_string("verity", "require");
    if (!set && options.verity == Verity::kRequired) return fails(std::move(set), false);
  }
  if (Result<> set = context->set_string("lowerdir+", image_mount); !set)
    return fails_by_errno(std::move(set));
  for (const std::string& directory : options.object_directories) {
    if (Result<> set = context->set_string("datadir+", directory); !set)
      return fails_by_errno(std::move(set));
  }
  if (!options.upper_directory.empty()) {
    if (Result<> set = context->set_string("upperdir", options.upper_directory); !set)
      return fails_by_errno(std::move(set));
    if (Result<> set = context->set_string("workdir", options.work_directory); !set)
      return fails_by_errno(std::move(set));
  }
  if (Result<> created = context->create(); !created) return fails_by_errno(std::move(created));
  Result<UniqueFd> mount_fd = context->mount(
      options.attributes | (options.access == Access::kReadOnly ? MOUNT_ATTR_RDONLY : 0U));
  if (!mount_fd) return NewInterfaceFailure{std::move(mount_fd).error(), false};
  if (Result<> attached = attach(mount_fd->get(), target); !attached)
    return fails(std::move(attached), false);
  return std::nullopt;
}

std::string escaped(const std::string& path) {
  std::string result;
  for (char c : path) {
    if (c == '\\' || c == ',' || c == ':') result += '\\';
    result += c;
  }
  return result;
}

/// MOUNT_ATTR_* as the flags of mount(2).
unsigned long old_mount_flags(unsigned attributes) {
  constexpr std::pair<unsigned, unsigned long> kFlags[] = {
      {MOUNT_ATTR_NOSUID, MS_NOSUID},          {MOUNT_ATTR_NODEV, MS_NODEV},
      {MOUNT_ATTR_NOEXEC, MS_NOEXEC},          {MOUNT_ATTR_NOATIME, MS_NOATIME},
      {MOUNT_ATTR_NODIRATIME, MS_NODIRATIME},  {MOUNT_ATTR_STRICTATIME, MS_STRICTATIME},
      {MOUNT_ATTR_NOSYMFOLLOW, MS_NOSYMFOLLOW}};
  unsigned long flags = 0;
  for (const auto& [attribute, flag] : kFlags) {
    if ((attributes & attribute) != 0) flags |= flag;
  }
  return flags;
}

Result<> mount_overlay(const std::string& image_mount, const std::string& target,
                       const ComposefsOptions& options) {
  std::optional<NewInterfaceFailure> failure = mount_overlay_new(image_mount, target, options);
  if (!failure) return {};
  if (!failure->try_old_interface) return std::move(failure->error);
  unsigned long flags = MS_SILENT | old_mount_flags(options.attributes);
  if (options.access == Access::kReadOnly) flags |= MS_RDONLY;
  std::string data;
  for (const char* separator : {"::", ":"}) {
    data = old_overlay_options(image_mount, options, separator);
    if (::mount(options.source.c_str(), target.c_str(), "overlay", flags, data.c_str()) == 0) {
      return {};
    }
    if (errno != EINVAL) return errno_error("overlay: cannot mount with '" + data + "'");
  }
  // Both interfaces refused. If the new one is there at all, it says why.
  if (failure->error.code != ErrorCode::kUnsupported) return std::move(failure->error);
  Error error = errno_error("overlay: cannot mount with '" + data + "'", EINVAL);
  if (options.verity == Verity::kRequired) {
    error.code = ErrorCode::kUnsupported;
    error.hint = "checking contents (verity) needs Linux 6.6 or newer";
  }
  return error;
}

}  // namespace

Result<> check_image_digest(int image_fd, const verity::Digest& expected) {
  Result<verity::Digest> measured = verity::measure(image_fd);
  if (!measured) return Error(std::move(measured).error()).with("while measuring the image");
  if (*measured != expected) {
    return make_error(ErrorCode::kDigestMismatch,
                      "the image has digest " + measured->hex() + ", expected " + expected.hex());
  }
  return {};
}

std::string old_overlay_options(const std::string& image_mount, const ComposefsOptions& options,
                                const std::string& data_separator) {
  std::string text = "metacopy=on,redirect_dir=on,lowerdir=" + escaped(image_mount);
  for (const std::string& directory : options.object_directories) {
    text += data_separator + escaped(directory);
  }
  if (!options.upper_directory.empty()) {
    text += ",upperdir=" + escaped(options.upper_directory);
    text += ",workdir=" + escaped(options.work_directory);
  }
  // kTry is for the new interface alone: here a refusal could not be told from another EINVAL.
  if (options.verity == Verity::kRequired) text += ",verity=require";
  return text;
}

Result<Backing> mount_composefs(int image_fd, const std::string& target,
                                const ComposefsOptions& requested) {
  ComposefsOptions options = requested;
  CFS_CHECK(!options.object_directories.empty());
  CFS_CHECK(options.upper_directory.empty() == options.work_directory.empty());
  if (options.expected_digest) {
    options.verity = Verity::kRequired;
    CFS_TRY(check_image_digest(image_fd, *options.expected_digest));
  }
  ImageHeader header = CFS_TRY(read_header(image_fd));
  Staging staging = CFS_TRY(Staging::create(options.staging_directory));
  Acl acl = (header.flags & kFlagHasAcl) != 0 ? Acl::kOn : Acl::kOff;
  Backing backing = CFS_TRY(mount_image(image_fd, acl, options, staging.path()));
  staging.set_mounted();
  CFS_TRY(mount_overlay(staging.path(), target, options));
  return backing;
}

}  // namespace cfs::mount
