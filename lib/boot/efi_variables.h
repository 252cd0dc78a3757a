// SPDX-License-Identifier: Apache-2.0
// What the boot loader tells the running system through the firmware's variables.
// Spec: systemd, "Boot Loader Interface"; Linux efivarfs.rst.
#pragma once

#include <optional>
#include <string>

#include "lib/base/result.h"

namespace cfs::boot {

/// The id of the entry that the boot loader started this time (sd-boot: in lower case), without
/// ".efi" and boot counter. None: no EFI, another loader, or a name that is not ASCII. After a
/// kexec it is still what the *boot loader* started. `efi_variables`: the directory where efivarfs
/// is mounted.
[[nodiscard]] Result<std::optional<std::string>> selected_entry(const std::string& efi_variables);

/// The UUID, in lower case, of the partition that the boot loader was started from: the ESP of this
/// boot. None: as above.
[[nodiscard]] Result<std::optional<std::string>> booted_partition(const std::string& efi_variables);

/// What somebody wants started, in the firmware's variables: a name, or a pattern of names, of
/// files. Empty: nothing.
struct EntryWishes {
  std::string one_shot;         ///< LoaderEntryOneShot, for the next boot only
  std::string default_pattern;  ///< LoaderEntryDefault
};
[[nodiscard]] Result<EntryWishes> entry_wishes(const std::string& efi_variables);

/// Withdraws them: removes both variables. Missing ones are fine. Errors: kPermission (efivarfs is
/// read-only), kIo.
[[nodiscard]] Result<> withdraw_entry_wishes(const std::string& efi_variables);

}  // namespace cfs::boot
