// SPDX-License-Identifier: Apache-2.0
#include "builder/command.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "builder/build.h"
#include "builder/manifest/manifest.h"
#include "builder/reports/var.h"
#include "builder/sources/source.h"
#include "lib/base/io.h"
#include "lib/base/progress.h"
#include "lib/boot/uki.h"
#include "lib/command/command_line.h"

namespace cfs::builder {
namespace {

Result<int> build_command(const std::string& manifest_path, BuildOptions options, const Io& io) {
  Manifest manifest = CFS_TRY(load_manifest(manifest_path, source_kinds()));
  if (manifest.kernel && options.mount_root.empty()) {
    std::error_code failure;
    std::filesystem::path executable = std::filesystem::read_symlink("/proc/self/exe", failure);
    if (failure) return errno_error("cannot find out where cfs-build is", failure.value());
    options.mount_root = CFS_TRY(find_mount_root(executable.string()));
  }
  BuildResult result = CFS_TRY(build(manifest, options));
  for (const std::string& warning : result.warnings) {
    (void)std::fputs(("cfs-build: warning: " + warning + "\n").c_str(), stderr);
  }
  const release::ReleaseDescription& release = result.release;
  std::string text;
  text += fmt::format("{} {} (epoch {})\n", release.name, release.version, release.epoch);
  text += fmt::format("image    {} {}\n", release.image.digest.hex(),
                      format_bytes(release.image.size_bytes));
  text += fmt::format("objects  {} {}\n", release.objects.count,
                      format_bytes(release.objects.size_bytes));
  for (const release::ReleaseFile& file : release.files) {
    text += fmt::format("{:<8} {} {}\n", file.role, file.name, format_bytes(file.size_bytes));
  }
  text += var_summary(result.var);
  CFS_TRY(print(io, text));
  return 0;
}

}  // namespace

Result<int> run(const std::vector<std::string>& arguments, const Io& io) {
  CLI::App app("Builds verified operating system images from manifests.", "cfs-build");
  app.require_subcommand(1);
  CLI::App* build_app = app.add_subcommand("build", "Build the image that a manifest describes.");
  std::string manifest;
  BuildOptions options;
  options.efi_stub = boot::kSystemdStubPath;
  build_app->add_option("MANIFEST", manifest, "YAML file; docs/MANIFEST.md describes it")
      ->required();
  build_app
      ->add_option("-o,--output", options.output,
                   "Directory to make; an earlier build's output is replaced")
      ->required();
  build_app->add_option("--store", options.store,
                        "Object store to share with other builds (default: OUT/objects)");
  build_app->add_option("--mount-root", options.mount_root,
                        "The static cfs-mount-root for the initramfs (default: found beside "
                        "cfs-build)");
  build_app->add_option("--efi-stub", options.efi_stub, "EFI stub of the UKI")
      ->capture_default_str();
  bool verbose = false;
  build_app->add_flag("-v,--verbose", verbose, "Show all that mmdebstrap, apt and dpkg say");

  if (CFS_TRY(command::parse(app, arguments, io)) == command::Parsed::kHelpPrinted) return 0;
  if (verbose) options.verbosity = Verbosity::kEverything;
  return build_command(manifest, options, io);
}

Result<std::string> find_mount_root(const std::string& executable) {
  std::filesystem::path folder = std::filesystem::path(executable).parent_path();
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
