// SPDX-License-Identifier: Apache-2.0
// Options that several commands of cfs-deploy have.
#pragma once

#include <string>

#include "deployer/boot_order.h"

namespace CLI {
class App;
}

namespace cfs::deployer {

constexpr const char* kDefaultSysroot = "/sysroot";

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
