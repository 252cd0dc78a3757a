// SPDX-License-Identifier: Apache-2.0
// Boot entries on an EFI system partition with systemd-boot: UKIs in EFI/Linux, the default one
// named in loader/loader.conf. Spec: UAPI Group, "Boot Loader Specification", Type #2;
// loader.conf(5).
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/base/unique_fd.h"
#include "lib/boot/uki.h"
#include "lib/verity/digest.h"

namespace cfs::boot {

constexpr const char* kUkiDirectory = "EFI/Linux";
constexpr const char* kLoaderConfPath = "loader/loader.conf";
/// Where firmware looks for a loader on amd64 when it knows no other.
constexpr const char* kFallbackLoaderPath = "EFI/BOOT/BOOTX64.EFI";

/// Content of loader.conf: `default ENTRY`, timeout 0, no editor. Always exactly 512 bytes, so that
/// it can be replaced by writing one sector, the only write that FAT does atomically.
/// `entry`: see check_entry_name().
[[nodiscard]] Result<std::string> loader_conf(std::string_view entry);

/// May a UKI have this name? `[A-Za-z0-9][A-Za-z0-9.+~_-]*.efi`, at most 200 bytes, and no boot
/// counter (`+3.efi`, `+2-1.efi`): sd-boot would rename the file. kInvalidInput otherwise.
[[nodiscard]] Result<> check_entry_name(std::string_view name);

/// The name of a deployment's entry, its own: `cfs_<version>_<deployment id>.efi`.
[[nodiscard]] std::string entry_name(std::string_view version, std::string_view deployment_id);

/// Do two names mean the same entry? Neither FAT nor the boot loader tells upper from lower case.
[[nodiscard]] bool same_entry(std::string_view a, std::string_view b);

/// The entry that the boot loader started this time, as it told the firmware (sd-boot: in lower
/// case). None: no EFI, another loader, or a name that is not ours. After a kexec it is still what
/// the *boot loader* started. `efi_variables`: where efivarfs is mounted.
/// Spec: systemd, "Boot Loader Interface", LoaderEntrySelected; Linux efivarfs.rst.
[[nodiscard]] Result<std::optional<std::string>> selected_entry(const std::string& efi_variables);

/// One UKI on the ESP.
struct BootEntry {
  std::string name;         ///< file name in EFI/Linux
  uint64_t size_bytes = 0;  ///< of the file
  /// The image it pins. None: not our UKI, or unreadable as one (cut short by a power failure).
  std::optional<verity::Digest> digest;
};

/// A mounted ESP (or any directory that stands for one). FAT has no symlinks and no journal: after
/// an unclean shutdown run fsck.fat before changing anything. One user at a time: callers hold the
/// deployment lock.
class Esp {
 public:
  /// Opens the directory `path`, the root of the ESP. The directories EFI/Linux and loader are made
  /// when needed.
  [[nodiscard]] static Result<Esp> open(int dir_fd, const std::string& path);

  /// All `EFI/Linux/*.efi`, sorted by name.
  [[nodiscard]] Result<std::vector<BootEntry>> list() const;

  /// Puts the UKI that can be read from `source_fd` (from offset 0) in place as `name`, durable and
  /// whole or not at all. Does not make it the default. A file of that name with the same content
  /// is left as it is. Removes what an interrupted install() or set_default() has left behind.
  /// Errors: kInvalidInput (name); kCorrupt (not a UKI); kExists (the name is the default entry and
  /// holds something else); kNoSpace, checked first.
  [[nodiscard]] Result<> install(const std::string& name, int source_fd);

  /// The entry named in loader.conf. None: no loader.conf or no `default` line.
  [[nodiscard]] Result<std::optional<std::string>> default_entry() const;

  /// Makes `name` the entry that boots next, atomically and durably: the last step of an update.
  /// Errors: kNotFound, kCorrupt (the file is not a whole UKI).
  [[nodiscard]] Result<> set_default(const std::string& name);

  /// Removes a UKI. A missing one is fine. Errors: kBusy (it is the default entry).
  [[nodiscard]] Result<> remove(const std::string& name);

 private:
  explicit Esp(UniqueFd root) : root_(std::move(root)) {}
  /// Makes the file `path` of what `write` writes to the descriptor it gets; see the essay in the
  /// .cc.
  Result<> publish(const std::string& path, const std::function<Result<>(int)>& write);
  Result<> make_durable(int file_fd);
  Result<> remove_temporaries();
  UniqueFd root_;
};

}  // namespace cfs::boot
