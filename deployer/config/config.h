// SPDX-License-Identifier: Apache-2.0
// How a device is to be run: `/etc/cfs/deploy.yaml`, the administrator's, over
// `/usr/lib/cfs/deploy.yaml`, the release's. docs/CONFIG.md explains every key.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "deployer/command.h"
#include "lib/json/value.h"
#include "lib/kernel_cmdline/boot_options.h"
#include "lib/net/url.h"
#include "lib/yaml/value.h"

namespace cfs::deployer {

enum class Metered { kAllow, kRefuse };
enum class RebootWhen { kNever, kNow, kWindow, kIdle };

/// A part of each day, in minutes since midnight of the device's own time zone. One that ends
/// before it begins goes over midnight.
struct TimeWindow {
  int begin = 0;
  int end = 0;
  bool operator==(const TimeWindow&) const = default;
};

struct Config {
  /// Repositories, the first is tried first. Empty: the sysroot's origin.
  std::vector<net::Url> urls;
  std::string channel;  ///< empty: the sysroot's origin
  uint64_t keep = 2;    ///< good deployments that are not collected
  uint64_t tries = 3;   ///< boots that a new release has to become healthy
  /// What follows the repair of a damaged object; the kernel command line may be stricter.
  kernel_cmdline::CorruptionAction on_corruption = kernel_cmdline::CorruptionAction::kReport;

  struct Update {
    std::chrono::seconds every = std::chrono::hours(24);
    std::chrono::seconds jitter = std::chrono::hours(24);
    std::optional<TimeWindow> window;  ///< none: always
    Metered metered = Metered::kAllow;
  } update;

  struct Reboot {
    RebootWhen when = RebootWhen::kNever;
    std::vector<std::string> idle_command;  ///< program and arguments, as the next
    std::vector<std::string> lock_command;
  } reboot;

  struct Health {
    std::chrono::seconds limit = std::chrono::minutes(15);
    std::chrono::seconds mark_bad_within = std::chrono::hours(24);
  } health;

  /// For each key that a file sets: "FILE:LINE". What is not in it has its default.
  std::map<std::string, std::string, std::less<>> origins;
};

/// One key. The table is all there is to know of it: the reader, `config show` and docs/CONFIG.md
/// follow it.
struct ConfigKey {
  const char* name;     ///< "group.key", or "key" alone
  const char* form;     ///< what values look like, for the document
  const char* meaning;  ///< for the document
  /// Reads a value, or reports what is wrong with it. Returns true if it is good.
  bool (*read)(const yaml::Value& value, Config& config);
  /// The value as it stands in a file; a list has several.
  json::Value (*show)(const Config& config);
};

[[nodiscard]] std::span<const ConfigKey> config_keys();

/// Reads both files, key by key; a list replaces a list. No file is fine, and so is one with
/// comments alone.
/// Errors: kInvalidInput, with all that is wrong in a file: its name, line, column, the key, and
/// for an unknown key the nearest one; those of reading a file.
[[nodiscard]] Result<Config> read_config(const Environment& environment);

/// Every key with its value and where that comes from. For people: each line can stand in a file.
[[nodiscard]] std::string to_text(const Config& config);
/// For programs: docs/schema/config.json.
[[nodiscard]] json::Value to_json(const Config& config);

/// `cfs-deploy config`
[[nodiscard]] RunCommand declare_config(CLI::App& command);

}  // namespace cfs::deployer
