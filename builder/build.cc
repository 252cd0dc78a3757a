// SPDX-License-Identifier: Apache-2.0
#include "builder/build.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <utility>

#include "builder/archive.h"
#include "builder/contents.h"
#include "builder/debian.h"
#include "builder/directory.h"
#include "builder/kernel.h"
#include "builder/normalize.h"
#include "builder/packages.h"
#include "builder/rules.h"
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

/// The directory that will become OUT. Removed with all it holds unless publish() succeeded.
class Output {
 public:
  static Result<Output> create(const std::string& path) {
    std::error_code failure;
    std::string absolute = fs::absolute(path, failure).lexically_normal().string();
    if (failure) return errno_error("cannot use '" + path + "'", failure.value());
    while (absolute.size() > 1 && absolute.back() == '/') absolute.pop_back();
    CFS_TRY(check_replaceable(absolute));
    // A sibling, so that the last step is a rename within one file system.
    std::string parent = fs::path(absolute).parent_path().string();
    TemporaryDirectory temporary = CFS_TRY_WITH("while preparing the output '" + path + "'",
                                                TemporaryDirectory::create(parent));
    UniqueFd fd = CFS_TRY(open_at(AT_FDCWD, temporary.path(), O_RDONLY | O_DIRECTORY));
    return Output(std::move(absolute), std::move(temporary), std::move(fd));
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

Result<> import_tar(const TarSource& source, tree::Tree& tree, Contents& contents) {
  UniqueFd fd = CFS_TRY(open_at(AT_FDCWD, source.path, O_RDONLY));
  struct stat status = CFS_TRY(fstat_fd(fd.get()));
  Progress progress("reading " + fs::path(source.path).filename().string(),
                    static_cast<uint64_t>(status.st_size));
  return import_archive(fd.get(), "'" + source.path + "'",
                        ArchivePlacement{.into = source.into, .strip = source.strip}, tree,
                        contents, progress);
}

/// The tree as the manifest wants it, the kernel still inside.
Result<tree::Tree> assemble(const Manifest& manifest, Contents& contents) {
  tree::Tree tree;
  std::string kernel_package = manifest.kernel ? manifest.kernel->package : "";
  for (const Source& source : manifest.sources) {
    std::string doing = "while reading the source '" + source.id + "'";
    if (const auto* debian = std::get_if<DebianSource>(&source.kind)) {
      DebianContext context{.arch = manifest.arch,
                            .more_packages = {},
                            .source_date_epoch = manifest.source_date_epoch};
      if (!kernel_package.empty()) {
        context.more_packages.push_back(std::exchange(kernel_package, std::string()));
      }
      CFS_TRY_WITH(doing, import_debian(*debian, context, tree, contents));
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

/// Makes vmlinuz, initramfs, cmdline and the UKI; adds them to the description.
Result<> write_boot_files(const Manifest& manifest, const BuildOptions& options,
                          const tree::Tree& tree, Contents& contents, const KernelImage& kernel,
                          const Output& output, release::ReleaseDescription& description) {
  std::string mount_root = CFS_TRY(read_file(AT_FDCWD, options.mount_root, kMaxMountRootBytes));
  std::string initramfs = CFS_TRY(make_initramfs(tree, contents, kernel.version,
                                                 manifest.kernel->initramfs_modules, mount_root));
  std::string command_line = fmt::format("{}", fmt::join(manifest.kernel->command_line, " "));
  if (!command_line.empty()) command_line += ' ';
  command_line += "composefs.digest=" + description.image.digest.hex();
  Result<verity::Digest> pinned = boot::pinned_digest(command_line);
  if (!pinned || *pinned != description.image.digest) {
    return make_error(ErrorCode::kInvalidInput,
                      "kernel.cmdline keeps the kernel from seeing the pinned digest")
        .with_hint("look for unpaired quotes and '--' in kernel.cmdline");
  }

  std::string stub = CFS_TRY(boot::read_efi_program(options.efi_stub));
  std::string os_release_text = CFS_TRY(os_release(manifest, tree, contents));
  std::vector<std::byte> uki = CFS_TRY(boot::make_uki({.stub = as_bytes(stub),
                                                       .os_release = os_release_text,
                                                       .cmdline = command_line,
                                                       .uname = kernel.version,
                                                       .kernel = as_bytes(kernel.image),
                                                       .initrd = as_bytes(initramfs)}));
  std::string uki_name = fmt::format("{}_{}.efi", manifest.name, manifest.version);
  CFS_TRY(output.write("vmlinuz", as_bytes(kernel.image)));
  CFS_TRY(output.write("initramfs", as_bytes(initramfs)));
  CFS_TRY(output.write("cmdline", as_bytes(command_line + "\n")));
  CFS_TRY(output.write(uki_name, uki));
  description.kernel = {.version = kernel.version, .cmdline = command_line};
  description.files.push_back(release::ReleaseFile{
      .name = uki_name, .role = "uki", .sha256 = verity::sha256(uki), .size_bytes = uki.size()});
  return {};
}

/// Makes OUT/objects a relative link to the store that the user named.
Result<> link_store(const std::string& path, const Output& output) {
  std::error_code failure;
  fs::path target = fs::absolute(path, failure).lexically_normal();
  target = target.lexically_relative(output.final_path());
  if (failure) return errno_error("cannot use the store '" + path + "'", failure.value());
  if (*target.begin() != "..") {
    return make_error(ErrorCode::kUsage,
                      "the store '" + path + "' lies inside the output directory")
        .with_hint("leave out --store to have the objects there");
  }
  CFS_TRY(make_directories(AT_FDCWD, path));
  if (::symlinkat(target.c_str(), output.fd(), "objects") != 0) {
    return errno_error("cannot make the link to the store");
  }
  return {};
}

}  // namespace

Result<release::ReleaseDescription> build(const Manifest& manifest, const BuildOptions& options) {
  Output output = CFS_TRY(Output::create(options.output));

  bool own_store = options.store.empty();
  if (!own_store) CFS_TRY(link_store(options.store, output));
  store::ObjectStore store = own_store
                                 ? CFS_TRY(store::ObjectStore::open(output.fd(), "objects", {}))
                                 : CFS_TRY(store::ObjectStore::open(AT_FDCWD, options.store, {}));
  Contents contents(store);

  tree::Tree tree = CFS_TRY(assemble(manifest, contents));
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
    CFS_TRY(write_boot_files(manifest, options, tree, contents, *kernel, output, description));
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
