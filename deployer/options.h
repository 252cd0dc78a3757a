// SPDX-License-Identifier: Apache-2.0
// The options of the commands of cfs-deploy. Only here does the deployer see CLI11, whose header
// takes longer to compile than a command.
#pragma once

#include <string>
#include <vector>

#include "deployer/boot_order.h"

namespace CLI {
class App;
}

namespace cfs::deployer {

constexpr const char* kDefaultSysroot = "/sysroot";

/// Whether a command can do without an option.
enum class Presence { kOptional, kRequired };

/// What is wrong with a value, behind the option's name ("'x' is not …"); "": nothing.
using CheckValue = std::string (*)(const std::string& value);

/// An option without a value. `name`: "--force". All references live as long as the command.
void add_flag(CLI::App& command, const std::string& name, bool& is_given, const std::string& help);
/// An option with a value, or an argument ("ID"). The help shows the default that `value` has.
void add_value(CLI::App& command, const std::string& name, std::string& value,
               const std::string& help, Presence presence = Presence::kOptional,
               CheckValue check = nullptr);
/// An argument that must be given and is one of `words`.
void add_choice(CLI::App& command, const std::string& name, std::string& value,
                const std::string& help, const std::vector<std::string>& words);
/// Two options that cannot be given together.
void exclude(CLI::App& command, const std::string& name, const std::string& other);

/// `--sysroot DIR`
void add_sysroot_option(CLI::App& command, std::string& sysroot);

/// `--esp DIR`; empty when it is not given: see MountedEsp.
void add_esp_option(CLI::App& command, std::string& esp);

/// `--no-way-back`
void add_no_way_back_option(CLI::App& command, bool& no_way_back);
[[nodiscard]] SwitchOptions switch_options(bool no_way_back);

/// An option whose value is a URL.
void add_url_option(CLI::App& command, const std::string& name, const std::string& text,
                    std::optional<net::Url>& url);

/// Which releases to follow: `--url`, `--root`, `--name`, and if wanted `--channel` and `--board`.
struct ReleaseOptions {
  std::optional<net::Url> url;
  std::string root;
  std::string name;
  std::string channel = "stable";
  std::string board;  ///< what the device is; "": not said

  [[nodiscard]] Origin origin() const { return {.url = *url, .name = name, .channel = channel}; }
  /// The content of the file `root`.
  [[nodiscard]] Result<std::string> read_root() const;
};
void add_release_options(CLI::App& command, ReleaseOptions& options);

}  // namespace cfs::deployer
