// SPDX-License-Identifier: Apache-2.0
#include "builder/boot_files.h"

#include <fcntl.h>
#include <fmt/format.h>

#include "builder/boot/initramfs.h"
#include "builder/manifest/kernel_options.h"
#include "lib/base/io.h"
#include "lib/boot/pe.h"
#include "lib/boot/uki.h"
#include "lib/verity/merkle.h"

namespace cfs::builder {
namespace {

constexpr size_t kMaxOsReleaseBytes = 64 << 10;
constexpr size_t kMaxMountRootBytes = 64 << 20;

/// The text that boot menus show: the image's own os-release with its name and version added.
Result<std::string> os_release(const Manifest& manifest, Rootfs& rootfs) {
  std::string text;
  const tree::Node* node = rootfs.tree.find("/usr/lib/os-release");
  if (node != nullptr && node->inode().is_regular()) {
    text = CFS_TRY(rootfs.contents.read(*node, kMaxOsReleaseBytes));
  } else {
    text = fmt::format("ID={0}\nNAME={0}\nPRETTY_NAME={0}\n", manifest.name);
  }
  if (!text.empty() && text.back() != '\n') text += '\n';
  return text + fmt::format("IMAGE_ID={}\nIMAGE_VERSION={}\n", manifest.name, manifest.version);
}

}  // namespace

Result<BootPrograms> read_boot_programs(const std::string& mount_root_path,
                                        const std::string& efi_stub_path) {
  BootPrograms programs;
  programs.mount_root = CFS_TRY_WITH("while reading the program '" + mount_root_path + "'",
                                     read_file(AT_FDCWD, mount_root_path, kMaxMountRootBytes));
  CFS_TRY(check_static_program(programs.mount_root, mount_root_path));
  std::string doing = "while reading the EFI stub '" + efi_stub_path + "'";
  programs.efi_stub = CFS_TRY_WITH(doing, boot::read_efi_program(efi_stub_path));
  // What make_uki() will do with it, while it costs nothing to find out that it cannot be done.
  CFS_TRY_WITH(doing, boot::append_sections(as_bytes(programs.efi_stub), {}));
  return programs;
}

Result<std::vector<std::string>> write_boot_files(const Manifest& manifest,
                                                  const BootPrograms& programs,
                                                  const KernelImage& kernel, Rootfs& rootfs,
                                                  const Output& output,
                                                  release::ReleaseDescription& description) {
  Initramfs initramfs = CFS_TRY(make_initramfs(rootfs, kernel,
                                               {.modules = manifest.kernel->initramfs_modules,
                                                .drivers = manifest.kernel->initramfs_drivers},
                                               programs.mount_root));
  std::string command_line =
      CFS_TRY(kernel_command_line(manifest.kernel->command_line, description.image.digest));
  std::string os_release_text = CFS_TRY(os_release(manifest, rootfs));
  std::vector<std::byte> uki = CFS_TRY(boot::make_uki({.stub = as_bytes(programs.efi_stub),
                                                       .os_release = os_release_text,
                                                       .cmdline = command_line,
                                                       .uname = kernel.version,
                                                       .kernel = as_bytes(kernel.image),
                                                       .initrd = as_bytes(initramfs.archive)}));
  std::string uki_name = boot_file_name(manifest);
  CFS_TRY(output.write("vmlinuz", as_bytes(kernel.image)));
  CFS_TRY(output.write("initramfs", as_bytes(initramfs.archive)));
  CFS_TRY(output.write("cmdline", as_bytes(command_line + "\n")));
  CFS_TRY(output.write(uki_name, uki));
  description.kernel = {.version = kernel.version, .cmdline = command_line};
  description.files.push_back(release::ReleaseFile{
      .name = uki_name, .role = "uki", .sha256 = verity::sha256(uki), .size_bytes = uki.size()});
  return std::move(initramfs.warnings);
}

}  // namespace cfs::builder
