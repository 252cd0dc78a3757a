// SPDX-License-Identifier: Apache-2.0
// What the boot loader tells the running system through the firmware's variables.
// Spec: systemd, "Boot Loader Interface"; Linux efivarfs.rst.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lib/base/result.h"

namespace cfs::boot {

/// The id of the entry that the boot loader started this time (sd-boot: in lower case), without
/// ".efi" and boot counter. None: no EFI, another loader, or a name that is not ASCII. After a
/// kexec it is still what the *boot loader* started. `efi_variables`: the directory where efivarfs
/// is mounted.
[[nodiscard]] Result<std::optional<std::string>> selected_entry(const std::string& efi_variables);

/// The file names of all entries that the boot loader found this time, as it writes them, each with
/// the counter that it had then. Empty: as above.
[[nodiscard]] Result<std::vector<std::string>> loader_entries(const std::string& efi_variables);

/// True if the boot loader counts the boots of the entry that it started this time.
[[nodiscard]] Result<bool> is_counted_boot(const std::string& efi_variables);

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

/// Has the entry of that file name started at the next boot, and only then (LoaderEntryOneShot).
/// Errors: kInvalidInput (the name is not ASCII); kPermission (efivarfs is read-only), kNoSpace,
/// kIo.
[[nodiscard]] Result<> start_once(const std::string& efi_variables, const std::string& name);

/// Withdraws them: removes both variables. Missing ones are fine. Errors: kPermission (efivarfs is
/// read-only), kIo.
[[nodiscard]] Result<> withdraw_entry_wishes(const std::string& efi_variables);

}  // namespace cfs::boot
