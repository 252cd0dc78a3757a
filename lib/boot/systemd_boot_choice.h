// SPDX-License-Identifier: Apache-2.0
// Which entry systemd-boot starts: its own rules, as a function of what it looks at.
// Spec: loader.conf(5); UAPI Group, "Boot Loader Specification" (sorting) and "Version Format";
// systemd, "Automatic Boot Assessment" and "Boot Loader Interface". As systemd 252 does it.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/boot/boot_loader.h"
#include "lib/boot/efi_variables.h"

namespace cfs::boot {

/// An entry as systemd-boot sees it.
struct LoaderFile {
  std::string name;      ///< of the file, with counter and suffix
  std::string sort_key;  ///< of its os-release: IMAGE_ID, else ID
  std::string version;   ///< IMAGE_VERSION, else VERSION, VERSION_ID, BUILD_ID
  std::optional<Tries> tries;
};

/// Sort key and version of an entry with this os-release.
void read_sorting_fields(std::string_view os_release, LoaderFile& file);

/// What systemd-boot is told. Texts are patterns (fnmatch(3)); empty: not set.
struct LoaderChoice {
  std::string one_shot;          ///< LoaderEntryOneShot
  std::string firmware_default;  ///< LoaderEntryDefault
  std::string configured;        ///< the last `default` of loader.conf
};

/// The file that is started, as its index in `files`, and by whose word. Nothing when there is
/// none.
struct ChosenFile {
  size_t index = 0;
  NextBoot::Reason reason = NextBoot::Reason::kFirst;
};
[[nodiscard]] std::optional<ChosenFile> choose_file(std::span<const LoaderFile> files,
                                                    const LoaderChoice& choice);

/// A file and the entry that it is of.
struct ListedFile {
  std::string id;
  LoaderFile seen;
};

/// choose_file(), as the entry.
[[nodiscard]] std::optional<NextBoot> choose_entry(const std::vector<ListedFile>& files,
                                                   const LoaderChoice& choice);

/// The entry that comes first when nothing is asked for and these have these counters.
[[nodiscard]] std::optional<std::string> first_with(std::vector<ListedFile> files,
                                                    const AssumedTries& tries);

/// The first of the wishes that no file matches; empty: there is none.
[[nodiscard]] std::string first_unseen(const std::vector<ListedFile>& files,
                                       const EntryWishes& wishes);

/// Negative, 0 or positive: version `a` is older than, as new as, or newer than `b`.
[[nodiscard]] int compare_versions(std::string_view a, std::string_view b);

}  // namespace cfs::boot
