// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"

namespace cfs::initramfs {

/// Returns true if `text` matches `pattern`, in which `*` stands for any characters, `?` for one,
/// and `[a-z]` for one of a set. Spec: fnmatch(3) without flags, as modules.alias is meant.
[[nodiscard]] bool matches_alias(std::string_view pattern, std::string_view text);

/// Which drivers to load. Some take long to find out what is behind a controller (an AHCI port
/// without a disk, a USB hub), and most machines have such controllers and boot from something
/// else.
enum class Drivers {
  kQuick,  ///< without those that the index calls late
  kAll,
};

/// What the initramfs can load: its module index (initramfs/README.md, "The module index"). Borrows
/// the text that it was parsed from.
struct ModuleIndex {
  std::vector<std::string_view> always;                              ///< files, in load order
  std::map<std::string_view, std::vector<std::string_view>> orders;  ///< module → files, in order
  /// Patterns and modules, by what stands before the first ':' of the pattern ("pci"). Under "":
  /// the patterns with wildcards there, and those without ':'.
  std::map<std::string_view, std::vector<std::pair<std::string_view, std::string_view>>> aliases;
  std::set<std::string_view> late;  ///< modules

  /// The modules that `alias` asks for.
  [[nodiscard]] std::vector<std::string_view> modules_for(std::string_view alias) const;
  /// Returns true if a device on the bus `bus` may ask for anything: there are buses with thousands
  /// of devices.
  [[nodiscard]] bool asks_on_bus(std::string_view bus) const;
};

/// Lines that say nothing are skipped. The result borrows `text`.
[[nodiscard]] ModuleIndex parse_module_index(std::string_view text);

/// Loads modules of the built-in initramfs. A module that cannot be loaded is a line in the
/// kernel's log: what is really missing shows in the step that needs it.
class ModuleLoader {
 public:
  /// `directory`: where the index and the modules lie; `sys`: /sys. Errors: no index.
  [[nodiscard]] static Result<ModuleLoader> open(std::string directory, std::string sys);

  /// Loads what the index says is needed at every boot.
  void load_always();
  /// Loads what `alias` asks for: the modalias of a device, "fs-ext4", "devname:loop-control".
  /// Returns whether anything was loaded.
  bool load_for(const std::string& alias, Drivers drivers = Drivers::kAll);
  /// Loads the modules for the processor's features.
  void load_for_processor();
  /// Loads the modules for the devices that are there, except processors, as far as that was not
  /// done before. Returns whether anything was loaded: it may make more devices appear.
  bool load_for_devices(Drivers drivers);

 private:
  ModuleLoader(std::string directory, std::string sys, std::unique_ptr<const std::string> text)
      : directory_(std::move(directory)),
        sys_(std::move(sys)),
        text_(std::move(text)),
        index_(parse_module_index(*text_)) {}
  bool load_file(std::string_view name);

  std::string directory_;
  std::string sys_;
  std::unique_ptr<const std::string> text_;
  ModuleIndex index_;                        // borrows text_
  std::set<std::string_view> loaded_;        // files, loaded or tried
  std::map<std::string, Drivers> answered_;  // aliases
};

}  // namespace cfs::initramfs
