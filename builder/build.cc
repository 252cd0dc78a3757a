// SPDX-License-Identifier: Apache-2.0
#include "builder/build.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <utility>

#include "builder/boot/kernel.h"
#include "builder/contents.h"
#include "builder/passes/normalize.h"
#include "builder/passes/rules.h"
#include "builder/reports/packages.h"
#include "builder/sources/debian.h"
#include "builder/sources/directory.h"
#include "builder/sources/tar.h"
#include "lib/base/check.h"
#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/base/progress.h"
#include "lib/boot/uki.h"
#include "lib/erofs/writer.h"
#include "lib/release/description.h"
#include "lib/store/object_store.h"
#include "lib/verity/merkle.h"

namespace cfs::builder {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxDpkgStatusBytes = 64 << 20;
constexpr size_t kMaxOsReleaseBytes = 64 << 10;
constexpr size_t kMaxMountRootBytes = 64 << 20;
constexpr size_t kMaxReleaseBytes = 64 << 10;

/// Absolute, without symlinks, "." and "..", as far as it exists.
Result<std::string> real_path(const std::string& path) {
  std::error_code failure;
  fs::path absolute = fs::absolute(path, failure);
  fs::path real = failure ? fs::path() : fs::weakly_canonical(absolute, failure);
  if (failure) return errno_error("cannot use '" + path + "'", failure.value());
  std::string text = real.string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

/// The directory that will become OUT. Removed with all it holds unless publish() succeeded.
class Output {
 public:
  /// `path`: real_path of OUT.
  static Result<Output> create(const std::string& path) {
    CFS_TRY(check_replaceable(path));
    // A sibling, so that the last step is a rename within one file system. Its owner holds a lock;
    // one that can be locked was left behind by a build that got killed.
    std::string parent = fs::path(path).parent_path().string();
    std::string prefix = "." + fs::path(path).filename().string() + ".cfs-build-";
    std::string doing = "while preparing the output '" + path + "'";
    CFS_TRY_WITH(doing, remove_stale(parent, prefix));
    for (;;) {
      TemporaryDirectory temporary =
          CFS_TRY_WITH(doing, TemporaryDirectory::create(parent, prefix));
      // Another build's remove_stale may come between any two of these steps.
      std::optional<UniqueFd> fd = CFS_TRY_WITH(doing, lock(temporary.path()));
      if (fd) return Output(path, std::move(temporary), *std::move(fd));
    }
  }

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] const std::string& final_path() const { return final_path_; }

  Result<> write(const std::string& name, Bytes content) const {
    UniqueFd file = CFS_TRY(open_at(fd_.get(), name, O_WRONLY | O_CREAT | O_EXCL, 0644));
    CFS_TRY_WITH("while writing '" + name + "'", write_full(file.get(), content));
    return {};
  }

  /// Gives the directory its final name, in exchange for an earlier build's output if there is one.
  Result<> publish() {
    if (::fchmod(fd_.get(), 0755) != 0) return errno_error("cannot chmod the output");
    CFS_TRY(sync_filesystem(fd_.get()));
    CFS_TRY(check_replaceable(final_path_));
    CFS_TRY(check_interrupted());
    bool exists = stat_at(AT_FDCWD, final_path_, AT_SYMLINK_NOFOLLOW).has_value();
    if (::renameat2(AT_FDCWD, temporary_.path().c_str(), AT_FDCWD, final_path_.c_str(),
                    exists ? RENAME_EXCHANGE : RENAME_NOREPLACE) != 0) {
      return errno_error("cannot rename the output to '" + final_path_ + "'");
    }
    return fsync_directory(AT_FDCWD, fs::path(final_path_).parent_path().string());
  }

 private:
  Output(std::string final_path, TemporaryDirectory temporary, UniqueFd fd)
      : final_path_(std::move(final_path)), temporary_(std::move(temporary)), fd_(std::move(fd)) {}

  /// The directory, locked for this process; nothing when another one has it or removed it.
  static Result<std::optional<UniqueFd>> lock(const std::string& path) {
    Result<UniqueFd> opened = open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!opened && opened.error().code == ErrorCode::kNotFound) return std::optional<UniqueFd>();
    UniqueFd fd = CFS_TRY(std::move(opened));
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) return std::optional<UniqueFd>();
      return errno_error("cannot lock '" + path + "'");
    }
    struct stat locked = CFS_TRY(fstat_fd(fd.get()));
    Result<struct stat> named = stat_at(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW);
    if (!named || named->st_ino != locked.st_ino) return std::optional<UniqueFd>();
    return std::optional<UniqueFd>(std::move(fd));
  }

  static Result<> remove_stale(const std::string& parent, const std::string& prefix) {
    for (const std::string& name : CFS_TRY(list_directory(AT_FDCWD, parent))) {
      if (!name.starts_with(prefix)) continue;
      std::string path = fs::path(parent) / name;
      Result<struct stat> status = stat_at(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW);
      if (!status || !S_ISDIR(status->st_mode) || status->st_uid != ::geteuid()) continue;
      std::optional<UniqueFd> stale = CFS_TRY(lock(path));
      if (stale) CFS_TRY(remove_tree(AT_FDCWD, path));
    }
    return {};
  }

  static Result<> check_replaceable(const std::string& path) {
    if (!stat_at(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW)) return {};
    Result<std::string> release = read_file(AT_FDCWD, path + "/release.json", kMaxReleaseBytes);
    if (release && release::parse_description(*release)) return {};
    return make_error(ErrorCode::kExists,
                      "'" + path + "' is there and is not the output of a build")
        .with_hint("remove it, or name another directory with -o");
  }

  std::string final_path_;
  TemporaryDirectory temporary_;
  UniqueFd fd_;
};

/// Is the directory `outer` the directory `path` or one of its parents? `path` is a real_path that
/// need not exist.
bool holds(const struct stat& outer, fs::path path) {
  for (;; path = path.parent_path()) {
    Result<struct stat> status = stat_at(AT_FDCWD, path.string(), 0);
    if (status && status->st_dev == outer.st_dev && status->st_ino == outer.st_ino) return true;
    if (path == path.root_path()) return false;
  }
}

/// A build that reads what it writes would put its own store into the image.
Result<> check_outside(const struct stat& directory, const Source& source, const std::string& path,
                       const std::string& what, const std::string& option) {
  if (!holds(directory, path)) return {};
  return make_error(ErrorCode::kUsage,
                    fmt::format("the {} '{}' lies inside the source '{}', the directory '{}'", what,
                                path, source.id, std::get<DirectorySource>(source.kind).path))
      .with_hint("name a directory outside of it with " + option);
}

/// Finds what is wrong with the sources before anything is done for minutes.
/// `output` and `store` (empty: in the output): real_path.
Result<> check_sources(const Manifest& manifest, const std::string& output,
                       const std::string& store) {
  for (const Source& source : manifest.sources) {
    auto refuse = [&](ErrorCode code, const std::string& path, const std::string& what) {
      return make_error(code, fmt::format("{}'{}' {}", source.place, path, what));
    };
    auto look_at = [&](const std::string& path, int flags) -> Result<struct stat> {
      Result<struct stat> status = stat_at(AT_FDCWD, path, flags);
      if (status || status.error().code != ErrorCode::kNotFound) return status;
      return refuse(ErrorCode::kNotFound, path, "does not exist")
          .with_hint("paths are relative to the manifest's folder");
    };
    auto check_access = [&](const std::string& path, int access) -> Result<> {
      if (::faccessat(AT_FDCWD, path.c_str(), access, AT_EACCESS) == 0) return {};
      return refuse(ErrorCode::kPermission, path, "cannot be read");
    };
    if (const auto* tar = std::get_if<TarSource>(&source.kind)) {
      struct stat status = CFS_TRY(look_at(tar->path, 0));
      if (S_ISDIR(status.st_mode)) {
        return refuse(ErrorCode::kInvalidInput, tar->path, "is a directory, not a tar archive")
            .with_hint("use 'dir' for a directory");
      }
      CFS_TRY(check_access(tar->path, R_OK));
    } else if (const auto* directory = std::get_if<DirectorySource>(&source.kind)) {
      struct stat status = CFS_TRY(look_at(directory->path, AT_SYMLINK_NOFOLLOW));
      if (S_ISLNK(status.st_mode)) {
        return refuse(ErrorCode::kInvalidInput, directory->path, "is a symlink, not a directory")
            .with_hint("name the directory that it leads to");
      }
      if (!S_ISDIR(status.st_mode)) {
        return refuse(ErrorCode::kInvalidInput, directory->path, "is not a directory")
            .with_hint("use 'tar' for a tar archive");
      }
      CFS_TRY(check_access(directory->path, R_OK | X_OK));
      CFS_TRY(check_outside(status, source, output, "output", "-o"));
      if (!store.empty()) CFS_TRY(check_outside(status, source, store, "store", "--store"));
    }
  }
  return {};
}

/// The command that makes each debian source, by the index of the source.
using DebianCommands = std::map<size_t, Command>;

Result<DebianCommands> prepare_debian_sources(const Manifest& manifest) {
  DebianCommands commands;
  std::string kernel_package = manifest.kernel ? manifest.kernel->package : "";
  for (size_t i = 0; i < manifest.sources.size(); ++i) {
    const auto* debian = std::get_if<DebianSource>(&manifest.sources[i].kind);
    if (debian == nullptr) continue;
    DebianContext context{.arch = manifest.arch,
                          .more_packages = {},
                          .source_date_epoch = manifest.source_date_epoch};
    if (!kernel_package.empty()) {
      context.more_packages.push_back(std::exchange(kernel_package, std::string()));
    }
    commands[i] = CFS_TRY_WITH("while preparing the source '" + manifest.sources[i].id + "'",
                               prepare_debian(*debian, context));
  }
  return commands;
}

Result<> import_tar(const TarSource& source, tree::Tree& tree, Contents& contents) {
  UniqueFd fd = CFS_TRY(open_at(AT_FDCWD, source.path, O_RDONLY));
  struct stat status = CFS_TRY(fstat_fd(fd.get()));
  Progress progress("reading " + fs::path(source.path).filename().string(),
                    static_cast<uint64_t>(status.st_size));
  return import_tar_stream(fd.get(), "'" + source.path + "'",
                           TarPlacement{.into = source.into, .strip = source.strip}, tree, contents,
                           progress);
}

/// The tree as the manifest wants it, the kernel still inside.
Result<tree::Tree> assemble(const Manifest& manifest, const DebianCommands& debian_commands,
                            Contents& contents) {
  tree::Tree tree;
  for (size_t i = 0; i < manifest.sources.size(); ++i) {
    const Source& source = manifest.sources[i];
    std::string doing = "while reading the source '" + source.id + "'";
    if (const auto* debian = std::get_if<DebianSource>(&source.kind)) {
      CFS_TRY_WITH(doing, import_debian(debian->suite, debian_commands.at(i), tree, contents));
      if (std::find(manifest.normalize.begin(), manifest.normalize.end(),
                    NormalizePass::kHostLeaks) != manifest.normalize.end()) {
        remove_host_leaks(tree);
      }
    } else if (const auto* tar = std::get_if<TarSource>(&source.kind)) {
      CFS_TRY_WITH(doing, import_tar(*tar, tree, contents));
    } else {
      CFS_TRY_WITH(doing, import_directory(std::get<DirectorySource>(source.kind), tree, contents));
    }
  }
  CFS_TRY_WITH("while normalising the image",
               normalize(tree, contents, manifest.normalize, manifest.source_date_epoch));
  CFS_TRY(apply_rules(manifest.files, manifest.source_date_epoch, tree, contents));
  return tree;
}

/// Digest and size of every object that the tree refers to.
std::map<verity::Digest, uint64_t> objects_of(const tree::Tree& tree) {
  std::map<verity::Digest, uint64_t> objects;
  Result<> done = tree.for_each([&](const tree::Node& node) -> Result<> {
    const tree::Node& inode = node.inode();
    if (inode.is_external()) objects.emplace(*inode.digest(), inode.size_bytes);
    return {};
  });
  CFS_CHECK(done.has_value());
  return objects;
}

/// Removes from the build's own store what rules, normalisation and the kernel left unused.
Result<> prune(const store::ObjectStore& store, const std::map<verity::Digest, uint64_t>& needed,
               const verity::Digest& image) {
  for (const verity::Digest& digest : CFS_TRY(store.list())) {
    if (digest == image || needed.count(digest) > 0) continue;
    CFS_TRY(remove_file(store.directory_fd(), digest.object_path()));
  }
  return {};
}

/// The text that boot menus show: the image's own os-release with its name and version added.
Result<std::string> os_release(const Manifest& manifest, const tree::Tree& tree,
                               Contents& contents) {
  std::string text;
  const tree::Node* node = tree.find("/usr/lib/os-release");
  if (node != nullptr && node->inode().is_regular()) {
    text = CFS_TRY(contents.read(*node, kMaxOsReleaseBytes));
  } else {
    text = fmt::format("ID={0}\nNAME={0}\nPRETTY_NAME={0}\n", manifest.name);
  }
  if (!text.empty() && text.back() != '\n') text += '\n';
  return text + fmt::format("IMAGE_ID={}\nIMAGE_VERSION={}\n", manifest.name, manifest.version);
}

/// The programs of the build host that go into the UKI.
struct BootPrograms {
  std::string mount_root;
  std::string efi_stub;
};

Result<BootPrograms> read_boot_programs(const BuildOptions& options) {
  BootPrograms programs;
  programs.mount_root = CFS_TRY(read_file(AT_FDCWD, options.mount_root, kMaxMountRootBytes));
  programs.efi_stub = CFS_TRY(boot::read_efi_program(options.efi_stub));
  return programs;
}

/// Makes vmlinuz, initramfs, cmdline and the UKI; adds them to the description.
Result<> write_boot_files(const Manifest& manifest, const BootPrograms& programs,
                          const tree::Tree& tree, Contents& contents, const KernelImage& kernel,
                          const Output& output, release::ReleaseDescription& description) {
  std::string initramfs = CFS_TRY(make_initramfs(
      tree, contents, kernel.version, manifest.kernel->initramfs_modules, programs.mount_root));
  std::string command_line =
      CFS_TRY(kernel_command_line(manifest.kernel->command_line, description.image.digest));
  std::string os_release_text = CFS_TRY(os_release(manifest, tree, contents));
  std::vector<std::byte> uki = CFS_TRY(boot::make_uki({.stub = as_bytes(programs.efi_stub),
                                                       .os_release = os_release_text,
                                                       .cmdline = command_line,
                                                       .uname = kernel.version,
                                                       .kernel = as_bytes(kernel.image),
                                                       .initrd = as_bytes(initramfs)}));
  std::string uki_name = boot_file_name(manifest);
  CFS_TRY(output.write("vmlinuz", as_bytes(kernel.image)));
  CFS_TRY(output.write("initramfs", as_bytes(initramfs)));
  CFS_TRY(output.write("cmdline", as_bytes(command_line + "\n")));
  CFS_TRY(output.write(uki_name, uki));
  description.kernel = {.version = kernel.version, .cmdline = command_line};
  description.files.push_back(release::ReleaseFile{
      .name = uki_name, .role = "uki", .sha256 = verity::sha256(uki), .size_bytes = uki.size()});
  return {};
}

/// Makes OUT/objects a relative link to the store `path` (a real_path) that the user named.
Result<> link_store(const std::string& path, const Output& output) {
  fs::path target = fs::path(path).lexically_relative(output.final_path());
  CFS_TRY(make_directories(AT_FDCWD, path));
  if (::symlinkat(target.c_str(), output.fd(), "objects") != 0) {
    return errno_error("cannot make the link to the store");
  }
  return {};
}

}  // namespace

Result<release::ReleaseDescription> build(const Manifest& manifest, const BuildOptions& options) {
  // All that can be found out at once is, before the minutes of work begin.
  std::string output_path = CFS_TRY(real_path(options.output));
  bool own_store = options.store.empty();
  std::string store_path = own_store ? "" : CFS_TRY(real_path(options.store));
  if (!own_store && *fs::path(store_path).lexically_relative(output_path).begin() != "..") {
    return make_error(ErrorCode::kUsage,
                      "the store '" + store_path + "' lies inside the output directory")
        .with_hint("leave out --store to have the objects there");
  }
  CFS_TRY(check_sources(manifest, output_path, store_path));
  BootPrograms programs;
  if (manifest.kernel) programs = CFS_TRY(read_boot_programs(options));
  DebianCommands debian_commands = CFS_TRY(prepare_debian_sources(manifest));

  Output output = CFS_TRY(Output::create(output_path));
  if (!own_store) CFS_TRY(link_store(store_path, output));
  store::ObjectStore store = own_store
                                 ? CFS_TRY(store::ObjectStore::open(output.fd(), "objects", {}))
                                 : CFS_TRY(store::ObjectStore::open(AT_FDCWD, store_path, {}));
  Contents contents(store);

  tree::Tree tree = CFS_TRY(assemble(manifest, debian_commands, contents));
  std::optional<KernelImage> kernel;
  if (manifest.kernel) kernel = CFS_TRY(take_kernel(tree, contents));
  settle(tree, manifest.source_date_epoch);

  UniqueFd image = CFS_TRY(open_at(output.fd(), "image.cfs", O_RDWR | O_CREAT | O_EXCL, 0644));
  erofs::ImageInfo info =
      CFS_TRY_WITH("while writing the image", erofs::write_image(tree, {}, image.get()));
  store::Batch* batch = CFS_TRY(contents.batch());
  struct stat image_status = CFS_TRY(fstat_fd(image.get()));
  store::FileDigest stored = CFS_TRY(batch->put_file(image.get(), image_status));
  if (stored.digest != info.digest) {
    return make_error(ErrorCode::kInternal, "the image in the store has digest " +
                                                stored.digest.hex() + ", not " + info.digest.hex());
  }
  {
    Progress progress("writing objects to disk", 0);
    CFS_TRY(contents.commit());
  }

  release::ReleaseDescription description;
  description.name = manifest.name;
  description.version = manifest.version;
  description.epoch = static_cast<uint64_t>(manifest.epoch);
  description.arch = manifest.arch;
  description.channel = manifest.channel;
  description.compatible = manifest.compatible;
  description.created = static_cast<uint64_t>(manifest.source_date_epoch);
  description.image = {.digest = info.digest, .size_bytes = info.size_bytes};
  std::map<verity::Digest, uint64_t> objects = objects_of(tree);
  for (const auto& [digest, size_bytes] : objects) {
    ++description.objects.count;
    description.objects.size_bytes += size_bytes;
  }
  if (kernel) {
    CFS_TRY(write_boot_files(manifest, programs, tree, contents, *kernel, output, description));
  }
  std::string dpkg_status;
  if (const tree::Node* node = tree.find("/var/lib/dpkg/status")) {
    dpkg_status = CFS_TRY(contents.read(*node, kMaxDpkgStatusBytes));
  }
  if (own_store) CFS_TRY(prune(store, objects, info.digest));
  CFS_TRY(output.write("packages.json", as_bytes(packages_json(installed_packages(dpkg_status)))));
  CFS_TRY(
      output.write("release.json", as_bytes(CFS_TRY(release::serialise_description(description)))));
  CFS_TRY(output.publish());
  return description;
}

Result<std::string> find_mount_root(const std::string& executable) {
  fs::path folder = fs::path(executable).parent_path();
  std::vector<std::string> places;
  for (const char* place :
       {"cfs-mount-root", "../lib/cfs/cfs-mount-root", "../initramfs/cfs-mount-root"}) {
    places.push_back((folder / place).lexically_normal().string());
    if (stat_at(AT_FDCWD, places.back(), 0)) return places.back();
  }
  return make_error(
             ErrorCode::kNotFound,
             fmt::format("cfs-mount-root, which becomes /init of the initramfs, is not in {}",
                         fmt::join(places, ", ")))
      .with_hint("install or build it, or name it with --mount-root");
}

}  // namespace cfs::builder
