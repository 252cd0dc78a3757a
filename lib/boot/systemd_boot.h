// SPDX-License-Identifier: Apache-2.0
// systemd-boot: UKIs in EFI/Linux on the EFI system partition, the one that boots next named in
// loader/loader.conf. Spec: UAPI Group, "Boot Loader Specification", Type #2; loader.conf(5);
// systemd, "Automatic Boot Assessment".
#pragma once

#include <string>
#include <vector>

#include "lib/base/unique_fd.h"
#include "lib/boot/boot_loader.h"
#include "lib/boot/systemd_boot_choice.h"

namespace cfs::boot {

constexpr const char* kUkiDirectory = "EFI/Linux";
constexpr const char* kLoaderConfPath = "loader/loader.conf";
/// Where firmware looks for a loader on amd64 when it knows no other.
constexpr const char* kFallbackLoaderPath = "EFI/BOOT/BOOTX64.EFI";

/// Content of loader.conf: `default PATTERN`, timeout 0, no editor. The pattern matches the entry's
/// file with no boot counter or with tries left, so that one that has used them up gives way to the
/// next. Always exactly 512 bytes, so that it can be replaced
/// by writing one sector, the only write that FAT does atomically. `id`: see check_entry_id().
[[nodiscard]] Result<std::string> loader_conf(std::string_view id);

/// The entries of a mounted ESP (or of any directory that stands for one). An entry is the file
/// `EFI/Linux/<id>.efi`, on trial `<id>+LEFT-DONE.efi`; systemd-boot renames it at each boot. FAT
/// has no symlinks and no journal: after an unclean shutdown run fsck.fat before changing anything.
class SystemdBoot : public BootLoader {
 public:
  /// `path`: the root of the ESP. The directories EFI/Linux and loader are made when needed.
  /// `efi_variables`: the directory where efivarfs is mounted.
  [[nodiscard]] static Result<SystemdBoot> open(int dir_fd, const std::string& path,
                                                std::string efi_variables);

  [[nodiscard]] Result<std::vector<BootEntry>> list() const override;
  [[nodiscard]] Result<uint64_t> free_bytes() const override;
  [[nodiscard]] Result<> install(const std::string& id, int uki_fd,
                                 std::optional<unsigned> tries_left) override;
  [[nodiscard]] Result<bool> holds(const std::string& id, int uki_fd) const override;
  [[nodiscard]] Result<std::optional<std::string>> chosen() const override;
  [[nodiscard]] Result<std::optional<NextBoot>> next() const override;
  [[nodiscard]] Result<std::optional<std::string>> first_with(
      const AssumedTries& tries) const override;
  [[nodiscard]] Result<std::string> unseen_wish() const override;
  [[nodiscard]] Result<> set_next(const std::string& id) override;
  [[nodiscard]] Result<std::optional<std::string>> selected() const override;
  [[nodiscard]] Result<> set_tries(const std::string& id,
                                   std::optional<unsigned> tries_left) override;
  [[nodiscard]] Result<> count_boot(const std::string& id) override;
  [[nodiscard]] Result<> remove_doubles() override;
  [[nodiscard]] Result<> remove(const std::string& id) override;

  /// Removes the temporary files of an install(), set_next() or set_tries() that was cut off.
  [[nodiscard]] Result<> remove_leftovers();

 private:
  /// A file of EFI/Linux, open, whose name ends like that of an entry.
  struct File {
    std::string name;
    std::string path;  ///< below the root
    std::string id;    ///< not checked
    std::optional<Tries> tries;
    UniqueFd fd;
  };

  SystemdBoot(UniqueFd root, std::string efi_variables)
      : root_(std::move(root)), efi_variables_(std::move(efi_variables)) {}

  /// All files, as they are at one moment: somebody else may rename one meanwhile.
  [[nodiscard]] Result<std::vector<File>> open_files() const;
  /// The files of an entry. Usually one; more after a power cut while it was renamed or copied. The
  /// best is first: whole before cut short, then without a counter.
  [[nodiscard]] Result<std::vector<File>> files_of(std::string_view id) const;
  /// As files_of(), at least one. Errors: kNotFound.
  [[nodiscard]] Result<std::vector<File>> files_of_existing(const std::string& id) const;
  /// Removes `files` but the one at `kept_path`; durable when this returns.
  Result<> remove_others(std::vector<File> files, std::string_view kept_path);
  /// What the boot loader lists of them.
  [[nodiscard]] Result<std::vector<ListedFile>> listed_files() const;
  /// The last `default` of loader.conf; empty when there is none, or the disk does not give it
  /// back.
  [[nodiscard]] Result<std::string> configured_pattern() const;
  Result<> copy(const File& from, const std::string& to);

  UniqueFd root_;
  std::string efi_variables_;
};

}  // namespace cfs::boot
