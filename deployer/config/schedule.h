// SPDX-License-Identifier: Apache-2.0
// When an unattended device looks for a release, and when it reboots into one. A timer of systemd
// asks every hour; what is decided depends on the configuration and the device alone.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "deployer/config/config.h"
#include "lib/base/time.h"

namespace cfs::deployer {

/// Why `update --unattended` does not look for a release now, in words for the journal; nothing
/// when it shall look.
[[nodiscard]] Result<std::optional<std::string>> why_not_look(const Config& config,
                                                              const Environment& environment);

/// Remembers, until the next boot, that the device has looked now.
[[nodiscard]] Result<> note_look(const Environment& environment);

/// Why a device with a release that waits for a reboot does not reboot now, in words; nothing when
/// it shall. Runs the configured commands, reboot.lock_command last and only if all else agrees:
/// whoever asks reboots then. Errors: kInterrupted.
[[nodiscard]] Result<std::optional<std::string>> why_not_reboot(const Config& config,
                                                                const Environment& environment);

/// A device's own part of `jitter`: the same at any time, evenly spread over devices.
[[nodiscard]] std::chrono::seconds part_of_jitter(std::string_view machine_id,
                                                  std::chrono::seconds jitter);

/// Returns true if a moment to look, at every multiple of `every` since 1970 and `offset` later,
/// has come after `last` and not after `now`. Also when `last` is later than `now`: the clock was
/// wrong then.
[[nodiscard]] bool is_due(UnixTime now, UnixTime last, std::chrono::seconds every,
                          std::chrono::seconds offset);

/// `minute` since midnight.
[[nodiscard]] bool is_within(const TimeWindow& window, int minute);

/// Minutes since midnight of this device's time zone.
[[nodiscard]] int minute_of_day(UnixTime time);

}  // namespace cfs::deployer
