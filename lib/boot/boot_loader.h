// SPDX-License-Identifier: Apache-2.0
// What cfs asks of a boot loader. Who adds one implements this interface and adds it to the types
// of boot_loader_test.cc, which holds for each of them what is promised here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/verity/digest.h"

namespace cfs::boot {

/// How often an entry on trial may still be started, and how often it was. An entry that is not on
/// trial has no counter. Spec: systemd, "Automatic Boot Assessment".
struct Tries {
  unsigned left = 0;
  unsigned done = 0;
  bool operator==(const Tries&) const = default;
};

/// One system that can be started.
struct BootEntry {
  std::string id;
  /// The image that its UKI pins. None: not a UKI of cfs, or cut short by a power failure.
  std::optional<verity::Digest> digest;
  std::optional<Tries> tries;
  bool operator==(const BootEntry&) const = default;
};

/// Succeeds if an entry may have this id: `[A-Za-z0-9][A-Za-z0-9.+~_-]*`, at most 180 bytes, ending
/// neither in ".efi" nor in what looks like a counter ("+3", "+2-1"), since a boot loader may make
/// a file name of it. Errors: kInvalidInput.
[[nodiscard]] Result<> check_entry_id(std::string_view id);

/// The id of a deployment's entry, its own: `cfs_<version>_<deployment id>`.
[[nodiscard]] std::string entry_id(std::string_view version, std::string_view deployment_id);

/// Returns true if two ids mean the same entry. Neither FAT nor firmware tells upper from lower
/// case.
[[nodiscard]] bool same_entry(std::string_view a, std::string_view b);

/// Starts one of several installed systems. An entry is known by its id, whatever files the boot
/// loader keeps of it and however these are called. One user at a time: callers hold the deployment
/// lock.
class BootLoader {
 public:
  virtual ~BootLoader() = default;

  /// All entries, sorted by id.
  [[nodiscard]] virtual Result<std::vector<BootEntry>> list() const = 0;

  /// Bytes that install() can still place.
  [[nodiscard]] virtual Result<uint64_t> free_bytes() const = 0;

  /// Makes an entry of the UKI that can be read from `uki_fd` (from offset 0), durable and whole or
  /// not at all. It does not boot next because of that, and is not on trial. An entry of that id
  /// with the same content is left as it is, with its counter; another one is replaced.
  /// Errors: kInvalidInput (id); kCorrupt (not a UKI); kExists (the id boots next and has another
  /// content); kNoSpace, checked first.
  [[nodiscard]] virtual Result<> install(const std::string& id, int uki_fd) = 0;

  /// The entry that set_next() has chosen last. None: it never did, or somebody else has chosen
  /// since. The entry may be missing.
  [[nodiscard]] virtual Result<std::optional<std::string>> next() const = 0;

  /// Chooses the entry that boots from now on, atomically and durably: the last step of an update.
  /// Errors: kNotFound; kCorrupt (it is not whole).
  [[nodiscard]] virtual Result<> set_next(const std::string& id) = 0;

  /// The entry that was started this time, as the boot loader says; in which case, is not
  /// specified (same_entry()). None: it does not say. After a kexec it is still what the *boot
  /// loader* started.
  [[nodiscard]] virtual Result<std::optional<std::string>> selected() const = 0;

  /// Puts an entry on trial with so many tries and none done; nothing: ends the trial, it is good.
  /// Whether it boots next does not change. Errors: kNotFound.
  [[nodiscard]] virtual Result<> set_tries(const std::string& id,
                                           std::optional<unsigned> tries_left) = 0;

  /// Removes an entry. A missing one is fine. Errors: kInvalidInput (id); kBusy (it boots next).
  [[nodiscard]] virtual Result<> remove(const std::string& id) = 0;
};

}  // namespace cfs::boot
