// SPDX-License-Identifier: Apache-2.0
// Unified kernel images: an EFI stub with the kernel, its initramfs and its command line in PE
// sections. Spec: UAPI Group, "Unified Kernel Image (UKI)"; systemd-stub(7).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/base/bytes.h"
#include "lib/base/result.h"
#include "lib/verity/digest.h"

namespace cfs::boot {

/// Where Debian's systemd-boot-efi puts the EFI programs for amd64. A tree that is being built may
/// have its own: the path is the caller's choice.
constexpr const char* kSystemdStubPath = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
constexpr const char* kSystemdBootPath = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi";

/// Reads one of the programs above. kNotFound names the package to install.
[[nodiscard]] Result<std::string> read_efi_program(const std::string& path);

/// What a UKI is made of. All views are borrowed.
struct UkiParts {
  Bytes stub;                   ///< content of the stub
  std::string_view os_release;  ///< text; must set PRETTY_NAME (or NAME, ID): sd-boot hides others
  std::string_view cmdline;     ///< one line, no control characters; ends in the file without '\n'
  std::string_view uname;       ///< kernel release, as in /lib/modules
  Bytes kernel;                 ///< bzImage with its EFI header
  Bytes initrd;
};

/// Assembles an unsigned UKI: .osrel .cmdline .uname .linux .initrd behind the stub's sections.
/// Same parts, same bytes. Errors: as append_sections(), kInvalidInput (a part cannot be used).
[[nodiscard]] Result<std::vector<std::byte>> make_uki(const UkiParts& parts);

/// The texts in a UKI.
struct UkiInfo {
  std::string os_release;
  std::string cmdline;
  std::string uname;  ///< empty: none
};

/// Reads the texts of the UKI in `fd` by position, without reading the kernel. At most 64 KiB a
/// text. Errors: kCorrupt (no PE file, cut short, no .linux, no .initrd, no .cmdline, NUL or line
/// break inside the command line). Trust: the file may be anything; nothing here says that it is
/// signed.
[[nodiscard]] Result<UkiInfo> read_uki(int fd);
/// The same of a file in memory.
[[nodiscard]] Result<UkiInfo> read_uki(Bytes file);

/// Succeeds if a UKI with these texts boots the image `digest`: its command line is one that
/// cfs-mount-root of this version obeys (kernel_cmdline::parse_boot_options), short enough for the
/// kernel, and pins that image; its os-release has a title, without which sd-boot hides it. For
/// those who sign a release and those who make it boot. Errors: kCorrupt.
[[nodiscard]] Result<> check_boots_image(const UkiInfo& uki, const verity::Digest& digest);

}  // namespace cfs::boot
