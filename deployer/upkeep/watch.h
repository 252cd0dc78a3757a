// SPDX-License-Identifier: Apache-2.0
// `cfs-deploy watch`: hears the kernel complain of a damaged object and repairs it.
//
// After the repair the name of the object means a new file. Who has the old one open goes on
// reading that; whoever opens it next reads the new one, since the kernel is told to forget what
// nobody has open.
#pragma once

#include <chrono>
#include <set>
#include <string>
#include <string_view>

#include "deployer/command.h"
#include "deployer/sysroot/sysroot.h"
#include "deployer/upkeep/kernel_complaints.h"

namespace cfs::deployer {

/// What is to be repaired, and when. One thread.
class Watcher {
 public:
  Watcher(std::string sysroot, const Environment& environment)
      : sysroot_(std::move(sysroot)), environment_(environment) {}

  /// Takes note of a record of the kernel's log. However often an object is complained of before
  /// it is repaired, it is repaired once. Returns true if there is more to mend than before.
  /// Errors: those of opening and reading the sysroot; kInterrupted.
  [[nodiscard]] Result<bool> hear(std::string_view record);

  /// Reads the objects that were complained of, says what they are used as, and repairs those that
  /// are damaged. What cannot be repaired now is kept, and pause() grows.
  /// Returns how many were repaired. Errors: as above; those of repair_objects().
  [[nodiscard]] Result<size_t> mend();

  [[nodiscard]] bool is_idle() const { return pending_.empty(); }
  /// How long to wait before the next mend().
  [[nodiscard]] std::chrono::seconds pause() const { return pause_; }

  static constexpr std::chrono::seconds kFirstPause{60};
  static constexpr std::chrono::seconds kLongestPause{3600};

 private:
  /// Repairs those of pending_ whose use is known. Returns how many.
  [[nodiscard]] Result<size_t> repair_known(Sysroot& sysroot);

  std::string sysroot_;
  const Environment& environment_;
  std::set<Complaint> heard_;  ///< since the last mend()
  std::set<verity::Digest> pending_;
  std::set<verity::Digest> told_;  ///< those of pending_ of which was said what they are used as
  std::chrono::seconds pause_ = kFirstPause;
};

/// `cfs-deploy watch`
[[nodiscard]] RunCommand declare_watch(CLI::App& command);

}  // namespace cfs::deployer
