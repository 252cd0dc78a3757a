// SPDX-License-Identifier: Apache-2.0
// What cfs asks of a boot loader. Who adds one implements this interface and adds it to the types
// of boot_loader_test.cc, which holds for each of them what is promised here.
#pragma once

#include <cstdint>
#include <map>
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

/// What is left of them after another boot.
[[nodiscard]] constexpr Tries after_a_boot(Tries tries) {
  return {.left = tries.left == 0 ? 0 : tries.left - 1, .done = tries.done + 1};
}

/// The tries of an entry that is parked: it waits behind all others.
constexpr unsigned kParked = 0;

/// One system that can be started.
struct BootEntry {
  std::string id;
  /// The image that its UKI pins. None: not a UKI of cfs, or cut short by a power failure.
  std::optional<verity::Digest> digest;
  std::string problem;      ///< why there is no digest
  uint64_t size_bytes = 0;  ///< of its file
  std::optional<Tries> tries;

  /// It starts only when it is asked for or nothing else is left: it is parked or used up.
  [[nodiscard]] bool waits() const { return tries && tries->left == 0; }
  /// It was on trial, and was started as often as it may be.
  [[nodiscard]] bool is_used_up() const { return waits() && tries->done > 0; }
  bool operator==(const BootEntry&) const = default;
};

/// The counters that entries are taken to have instead of their own, by id.
using AssumedTries = std::map<std::string, std::optional<Tries>>;

/// What the boot loader starts next, and by whose word.
struct NextBoot {
  enum class Reason {
    kChosen,           ///< set_next() has chosen it
    kOneShot,          ///< somebody has asked for it, for one boot
    kFirmwareDefault,  ///< somebody has made it the default in the firmware's variables
    kFirst,            ///< what is asked for cannot be started; it is first of what can
  };
  std::string id;
  Reason reason = Reason::kChosen;
  bool operator==(const NextBoot&) const = default;
};

/// Succeeds if an entry may have this id: `[A-Za-z0-9][A-Za-z0-9.+~_-]*`, at most 180 bytes, ending
/// neither in ".efi" nor in what looks like a counter ("+3", "+2-1"), since a boot loader may make
/// a file name of it. Errors: kInvalidInput.
[[nodiscard]] Result<> check_entry_id(std::string_view id);

/// The id of a deployment's entry, its own: `cfs_<version>_<deployment id>`.
[[nodiscard]] std::string entry_id(std::string_view version, std::string_view deployment_id);

/// The other way round: the deployment whose entry has this id, if it is an entry of cfs; "" of an
/// id without '_'.
[[nodiscard]] std::string deployment_of_entry(std::string_view id);

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
  /// not at all. An entry of that id with the same content is left as it is, with its counter;
  /// another one is replaced. `tries_left`: as set_tries(), of a new entry.
  /// Errors: kInvalidInput (id); kCorrupt (not a UKI); kExists (the id is chosen and boots another
  /// image); kNoSpace, checked first.
  [[nodiscard]] virtual Result<> install(const std::string& id, int uki_fd,
                                         std::optional<unsigned> tries_left) = 0;

  /// Returns true if there is an entry of that id with the content of `uki_fd` (from offset 0).
  [[nodiscard]] virtual Result<bool> holds(const std::string& id, int uki_fd) const = 0;

  /// The entry that set_next() has chosen last. None: it never did, or somebody else has chosen
  /// since. The entry may be missing, or have no tries left.
  [[nodiscard]] virtual Result<std::optional<std::string>> chosen() const = 0;

  /// What starts when the machine is switched on now, seeing everything that the boot loader looks
  /// at. None: there is no entry.
  [[nodiscard]] virtual Result<std::optional<NextBoot>> next() const = 0;

  /// The entry that starts when none is chosen or asked for, and these have these counters: what
  /// the device falls back to when they are used up. None: there is no entry.
  [[nodiscard]] virtual Result<std::optional<std::string>> first_with(
      const AssumedTries& tries) const = 0;

  /// What somebody asks for in the firmware's variables that is no entry of list(). The boot loader
  /// may have one of that name, of a kind that is not seen here, and starts it then before what
  /// next() says. Empty: nothing.
  [[nodiscard]] virtual Result<std::string> unseen_wish() const = 0;

  /// Chooses the entry that boots from now on, durably: the last step of an update. Other wishes,
  /// in the firmware's variables, are withdrawn after that: the entry boots, or what booted before,
  /// after a power cut at any instant. When the entry has used up its tries the first of those that
  /// have not boots instead: keep all others but the wanted one without tries (kParked).
  /// Errors: kNotFound; kCorrupt (it is not whole); kPermission, kIo (the variables).
  [[nodiscard]] virtual Result<> set_next(const std::string& id) = 0;

  /// The entry that was started this time, as the boot loader says; in which case, is not
  /// specified (same_entry()). None: it does not say. After a kexec it is still what the *boot
  /// loader* started.
  [[nodiscard]] virtual Result<std::optional<std::string>> selected() const = 0;

  /// Puts an entry on trial with so many tries and none done; nothing: ends the trial, it is good.
  /// kParked: it starts only when it is asked for or nothing else is left. A power cut while a
  /// trial begins, or while the entry is parked, may take the entry away: nobody does that to the
  /// one that must boot if all else fails. When a trial ends the entry stays whole, unless there is
  /// no room for a copy of it, or the disk fails to make one. Errors: kNotFound.
  [[nodiscard]] virtual Result<> set_tries(const std::string& id,
                                           std::optional<unsigned> tries_left) = 0;

  /// Uses up one of the tries of an entry, as the boot loader does before it starts one, where the
  /// firmware lets it rename files. An entry without a counter, or with no tries left, stays as it
  /// is. Errors: kNotFound.
  [[nodiscard]] virtual Result<> count_boot(const std::string& id) = 0;

  /// Removes what a power cut while a trial ended has left besides entries that are whole. It takes
  /// room, and no more.
  [[nodiscard]] virtual Result<> remove_doubles() = 0;

  /// Removes an entry. A missing one is fine. Errors: kInvalidInput (id); kBusy (it is chosen).
  [[nodiscard]] virtual Result<> remove(const std::string& id) = 0;
};

}  // namespace cfs::boot
