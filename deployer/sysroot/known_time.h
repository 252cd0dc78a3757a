// SPDX-License-Identifier: Apache-2.0
// The time, as far as a device knows it without a clock that it can trust.
#pragma once

#include "deployer/sysroot/references.h"
#include "lib/base/time.h"

namespace cfs::deployer {

/// The time by which metadata of a repository is judged: that of the clock or, if that is earlier,
/// the latest that is known to have been. So a device whose clock begins anew at each boot does not
/// take what expired long ago for fresh. A line tells of a clock that is a minute behind, or more.
///
/// Known are the clock when metadata was verified last (note_verified()), the times at which
/// installed releases were made, and those of records. The latter two may lie: a clock may have
/// been ahead for a while, or somebody signed a wrong date. So they count up to the expiry of the
/// stored timestamp only, and what is on offer stays acceptable. Errors: kInterrupted; those of
/// reading that is_damage() does not take for damage.
[[nodiscard]] Result<UnixTime> believable_time(const Sysroot& sysroot, const Inventory& inventory,
                                               const Environment& environment);

/// Writes down that the metadata of the repository has been verified, and is fresh by the clock.
[[nodiscard]] Result<> note_verified(Sysroot& sysroot, const Environment& environment);

/// The time of a new record: that of the clock or, if that is earlier, the latest that is known by
/// records and by note_verified(). No record is earlier than one that was made before it.
/// Errors: as believable_time().
[[nodiscard]] Result<uint64_t> time_of_record(const Sysroot& sysroot, const Inventory& inventory,
                                              const Environment& environment);

/// The same, and later than all records: for those that are sorted by their time.
[[nodiscard]] Result<uint64_t> time_after_all_records(const Sysroot& sysroot,
                                                      const Inventory& inventory,
                                                      const Environment& environment);

}  // namespace cfs::deployer
