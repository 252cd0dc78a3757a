// SPDX-License-Identifier: Apache-2.0
#include "deployer/sysroot/known_time.h"

#include <algorithm>

#include "deployer/sysroot/history.h"
#include "lib/base/interrupt.h"
#include "lib/sysroot/layout.h"
#include "lib/trust/client.h"

namespace cfs::deployer {
namespace {

constexpr size_t kMaxLineBytes = 64;
/// A clock that is wrong by less than that is nobody's concern.
constexpr UnixTime kToldSeconds = 60;

UnixTime clock_of(const Environment& environment) {
  return std::clamp<UnixTime>(environment.now(), 0, kMaxTime);
}

/// What is damaged is of no use here, and is reported elsewhere.
template <typename T>
Result<T> or_nothing(Result<T> result) {
  CFS_TRY(check_interrupted());
  return !result && is_damage(result.error()) ? Result<T>(T{}) : std::move(result);
}

/// 0: never, or not known any more.
Result<UnixTime> last_verified(const Sysroot& sysroot) {
  auto read = [&]() -> Result<UnixTime> {
    std::string line = CFS_TRY(sysroot.directory().read_file(sysroot::kVerifiedAt, kMaxLineBytes));
    if (line.ends_with('\n')) line.pop_back();
    return parse_time(line);
  };
  return or_nothing(read());
}

/// The latest time of all records. One that no clock can have said is none.
Result<UnixTime> latest_record(const Sysroot& sysroot, const Inventory& inventory) {
  UnixTime latest = 0;
  auto add = [&](uint64_t time) {
    if (time <= kMaxTime) latest = std::max(latest, static_cast<UnixTime>(time));
  };
  for (const Deployment& one : inventory.deployments) {
    add(one.installed);
    add(one.blessed);
    if (one.held) add(one.held->when);
  }
  const History history = CFS_TRY(read_history_to_go_on(sysroot));
  for (const Boot& boot : history) {
    add(boot.started);
    if (boot.reason) add(boot.reason->when);
  }
  return latest;
}

/// The time at which the newest installed release was made.
Result<UnixTime> latest_release(const Sysroot& sysroot, const Inventory& inventory) {
  UnixTime latest = 0;
  for (const Deployment& one : inventory.deployments) {
    Result<release::ReleaseDescription> description = sysroot.read_release(one.digest);
    CFS_TRY(check_interrupted());
    if (description) latest = std::max(latest, static_cast<UnixTime>(description->created));
  }
  return latest;
}

Result<std::optional<UnixTime>> expiry_of_timestamp(const Sysroot& sysroot) {
  trust::MetadataDirectory trusted = CFS_TRY(sysroot.trust_store());
  return or_nothing(trust::expiry_of_saved_timestamp(trusted));
}

}  // namespace

Result<UnixTime> believable_time(const Sysroot& sysroot, const Inventory& inventory,
                                 const Environment& environment) {
  const UnixTime clock = clock_of(environment);
  UnixTime latest = CFS_TRY(last_verified(sysroot));
  if (std::optional<UnixTime> expires = CFS_TRY(expiry_of_timestamp(sysroot))) {
    const UnixTime said = std::max(CFS_TRY(latest_record(sysroot, inventory)),
                                   CFS_TRY(latest_release(sysroot, inventory)));
    latest = std::max(latest, std::min(said, *expires - 1));
  }
  if (latest <= clock) return clock;
  if (latest - clock < kToldSeconds) return latest;
  environment.print("the clock says " + format_time(clock) +
                    ", but it has been later before: it is taken to be " + format_time(latest) +
                    "\n");
  return latest;
}

Result<> note_verified(Sysroot& sysroot, const Environment& environment) {
  const UnixTime clock = clock_of(environment);
  if (clock <= CFS_TRY(last_verified(sysroot))) return {};
  return sysroot.directory().write_file(sysroot::kVerifiedAt, as_bytes(format_time(clock) + "\n"),
                                        sysroot::mode_of(sysroot::kVerifiedAt, false));
}

Result<uint64_t> time_of_record(const Sysroot& sysroot, const Inventory& inventory,
                                const Environment& environment) {
  return static_cast<uint64_t>(std::max({clock_of(environment), CFS_TRY(last_verified(sysroot)),
                                         CFS_TRY(latest_record(sysroot, inventory))}));
}

Result<uint64_t> time_after_all_records(const Sysroot& sysroot, const Inventory& inventory,
                                        const Environment& environment) {
  const auto after =
      static_cast<uint64_t>(std::min(CFS_TRY(latest_record(sysroot, inventory)) + 1, kMaxTime));
  return std::max(after, CFS_TRY(time_of_record(sysroot, inventory, environment)));
}

}  // namespace cfs::deployer
