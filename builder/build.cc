// SPDX-License-Identifier: Apache-2.0
#include "builder/build.h"

#include <fcntl.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>
#include <utility>

#include "builder/boot/kernel.h"
#include "builder/boot_files.h"
#include "builder/output.h"
#include "builder/passes/extensions.h"
#include "builder/passes/normalize.h"
#include "builder/passes/rules.h"
#include "builder/passes/var.h"
#include "builder/reports/packages.h"
#include "builder/reports/var.h"
#include "builder/rootfs.h"
#include "builder/sources/source.h"
#include "lib/base/check.h"
#include "lib/base/error_list.h"
#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/base/progress.h"
#include "lib/erofs/writer.h"
#include "lib/store/object_store.h"
#include "lib/tree/objects.h"

namespace cfs::builder {
namespace {

constexpr size_t kMaxDpkgStatusBytes = 64 << 20;

/// Lets every source find what is wrong: first all that takes no time, then what takes seconds.
Result<> check_sources(const Manifest& manifest, const SourceContext& context) {
  std::vector<Error> errors;
  for (const SourceEntry& entry : manifest.sources) {
    Result<> checked = entry.source->check(context);
    CFS_TRY(check_interrupted());
    if (!checked) errors.push_back(std::move(checked).error());
  }
  if (!errors.empty()) return combine_errors("the list of sources", std::move(errors));
  for (const SourceEntry& entry : manifest.sources) {
    CFS_TRY_WITH("while preparing the source '" + entry.id + "'", entry.source->prepare(context));
  }
  return {};
}

/// The first source that can install packages gets the kernel's.
void add_kernel_package(const Manifest& manifest) {
  if (!manifest.kernel || !manifest.kernel->package) return;
  auto installer =
      std::find_if(manifest.sources.begin(), manifest.sources.end(),
                   [](const SourceEntry& entry) { return entry.kind->installs_packages; });
  CFS_CHECK(installer != manifest.sources.end());  // the manifest was checked
  installer->source->add_package(*manifest.kernel->package);
}

/// The tree as the manifest wants it, the kernel still inside. Returns what it ships for /var.
Result<std::vector<sysroot::VarRule>> assemble(const Manifest& manifest,
                                               const SourceContext& context, Rootfs& rootfs) {
  bool no_leaks = std::find(manifest.normalize.begin(), manifest.normalize.end(),
                            NormalizePass::kHostLeaks) != manifest.normalize.end();
  for (const SourceEntry& entry : manifest.sources) {
    CFS_TRY_WITH("while reading the source '" + entry.id + "'",
                 entry.source->import(context, rootfs));
    if (entry.kind->installs_packages && no_leaks) remove_host_leaks(rootfs.tree);
  }
  CFS_TRY_WITH("while normalising the image",
               normalize(rootfs, manifest.normalize, manifest.source_date_epoch));
  CFS_TRY(apply_rules(manifest.files, manifest.source_date_epoch, rootfs));
  if (manifest.kernel) {
    const FileRule policy{.path = kernel_cmdline::kRootPolicyPath,
                          .text = CFS_TRY(kernel_cmdline::serialise_root_policy(manifest.root)),
                          .mode = 0644};
    CFS_TRY(apply_rules(std::span(&policy, 1), manifest.source_date_epoch, rootfs));
  }
  if (manifest.allowed.count(Risk::kExtensionsFromVar) == 0) {
    CFS_TRY(refuse_extensions_from_var(rootfs));
  }
  return separate_var(manifest.var, manifest.source_date_epoch, rootfs);
}

/// Removes from the build's own store what rules, normalisation and the kernel left unused.
Result<> prune(const store::ObjectStore& store, const std::vector<tree::ObjectReference>& needed,
               const verity::Digest& image) {
  std::set<verity::Digest> kept{image};
  for (const tree::ObjectReference& object : needed) kept.insert(object.digest);
  for (const verity::Digest& digest : CFS_TRY(store.list())) {
    if (kept.contains(digest)) continue;
    CFS_TRY(remove_file(store.directory_fd(), digest.object_path()));
  }
  return {};
}

/// Writes image.cfs, puts it into the store too, and makes all objects durable.
Result<erofs::ImageInfo> write_image(Rootfs& rootfs, const Output& output) {
  UniqueFd image = CFS_TRY(open_at(output.fd(), "image.cfs", O_RDWR | O_CREAT | O_EXCL, 0644));
  erofs::ImageInfo info =
      CFS_TRY_WITH("while writing the image", erofs::write_image(rootfs.tree, {}, image.get()));
  store::Batch* batch = CFS_TRY(rootfs.contents.batch());
  struct stat status = CFS_TRY(fstat_fd(image.get()));
  store::FileDigest stored = CFS_TRY(batch->put_file(image.get(), status));
  if (stored.digest != info.digest) {
    return make_error(ErrorCode::kInternal, "the image in the store has digest " +
                                                stored.digest.hex() + ", not " + info.digest.hex());
  }
  Progress progress("writing objects to disk", 0);
  CFS_TRY(rootfs.contents.commit());
  return info;
}

release::ReleaseDescription describe(const Manifest& manifest, const erofs::ImageInfo& image,
                                     const std::vector<tree::ObjectReference>& objects) {
  release::ReleaseDescription description;
  description.name = manifest.name;
  description.version = manifest.version;
  description.epoch = static_cast<uint64_t>(manifest.epoch);
  description.arch = manifest.arch;
  description.channel = manifest.channel;
  description.compatible = manifest.compatible;
  description.state_version = static_cast<uint64_t>(manifest.state_version);
  description.created = static_cast<uint64_t>(manifest.source_date_epoch);
  description.image = {.digest = image.digest, .size_bytes = image.size_bytes};
  description.objects.count = objects.size();
  for (const tree::ObjectReference& object : objects) {
    description.objects.size_bytes += object.size_bytes;
  }
  return description;
}

Result<std::string> package_list(Rootfs& rootfs) {
  std::string dpkg_status;
  if (const tree::Node* node = rootfs.tree.find(kDpkgStatusPath)) {
    dpkg_status = CFS_TRY(rootfs.contents.read(*node, kMaxDpkgStatusBytes));
  }
  return packages_json(installed_packages(dpkg_status));
}

Result<> check_store_is_outside(const std::string& store, const std::string& output) {
  if (*std::filesystem::path(store).lexically_relative(output).begin() == "..") return {};
  return make_error(ErrorCode::kUsage, "the store '" + store + "' lies inside the output directory")
      .with_hint("leave out --store to have the objects there");
}

}  // namespace

Result<BuildResult> build(const Manifest& manifest, const BuildOptions& options) {
  // Mistakes that take no time to find are found before the minutes of work begin.
  SourceContext context{.arch = manifest.arch,
                        .source_date_epoch = manifest.source_date_epoch,
                        .output = "",
                        .store = "",
                        .verbosity = options.verbosity};
  context.output = CFS_TRY(real_path(options.output));
  bool own_store = options.store.empty();
  if (!own_store) {
    context.store = CFS_TRY(real_path(options.store));
    CFS_TRY(check_store_is_outside(context.store, context.output));
  }
  CFS_TRY(check_rules(manifest.files));
  BootPrograms programs;
  if (manifest.kernel) {
    programs = CFS_TRY(read_boot_programs(options.mount_root, options.efi_stub));
  }
  add_kernel_package(manifest);
  CFS_TRY(check_sources(manifest, context));

  Output output = CFS_TRY(Output::create(context.output));
  if (!own_store) CFS_TRY(output.link_store(context.store));
  store::ObjectStore store = own_store
                                 ? CFS_TRY(store::ObjectStore::open(output.fd(), "objects", {}))
                                 : CFS_TRY(store::ObjectStore::open(AT_FDCWD, context.store, {}));
  Rootfs rootfs{.tree = {}, .contents = Contents(store)};

  std::vector<sysroot::VarRule> var = CFS_TRY(assemble(manifest, context, rootfs));
  std::optional<KernelImage> kernel;
  if (manifest.kernel) {
    kernel = CFS_TRY(take_kernel(rootfs, manifest.source_date_epoch));
  }
  settle(rootfs.tree, manifest.source_date_epoch);

  erofs::ImageInfo image = CFS_TRY(write_image(rootfs, output));
  std::vector<tree::ObjectReference> objects = CFS_TRY(tree::objects_of(rootfs.tree));
  BuildResult result{
      .release = describe(manifest, image, objects), .var = std::move(var), .warnings = {}};
  if (kernel) {
    result.warnings =
        CFS_TRY(write_boot_files(manifest, programs, *kernel, rootfs, output, result.release));
  }
  CFS_TRY(output.write("packages.json", as_bytes(CFS_TRY(package_list(rootfs)))));
  CFS_TRY(output.write("var.txt", as_bytes(var_report(result.var))));
  CFS_TRY(output.write("release.json",
                       as_bytes(CFS_TRY(release::serialise_description(result.release)))));
  if (own_store) CFS_TRY(prune(store, objects, image.digest));
  CFS_TRY(output.publish());
  return result;
}

}  // namespace cfs::builder
