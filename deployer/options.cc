// SPDX-License-Identifier: Apache-2.0
#include "deployer/options.h"

#include <CLI/CLI.hpp>

#include "lib/base/io.h"
#include "lib/trust/metadata.h"

namespace cfs::deployer {
namespace {

std::string check_name(const std::string& text) {
  if (release::is_release_name(text)) return "";
  return "'" + text + "' cannot be a release's name: [a-z0-9][a-z0-9.-]{0,63}";
}

std::string check_channel(const std::string& text) {
  if (release::is_channel(text)) return "";
  return "'" + text + "' cannot be a channel: [a-z0-9][a-z0-9-]{0,31}";
}

std::string check_board(const std::string& text) {
  if (release::is_board(text)) return "";
  return "'" + text + "' cannot be a board: [A-Za-z0-9][A-Za-z0-9.,_-]{0,127}";
}

}  // namespace

void add_flag(CLI::App& command, const std::string& name, bool& is_given, const std::string& help) {
  command.add_flag(name, is_given, help);
}

void add_value(CLI::App& command, const std::string& name, std::string& value,
               const std::string& help, Presence presence, CheckValue check) {
  CLI::Option* option = command.add_option(name, value, help);
  if (!value.empty()) option->capture_default_str();
  option->required(presence == Presence::kRequired);
  if (check != nullptr) option->check(check);
}

void add_choice(CLI::App& command, const std::string& name, std::string& value,
                const std::string& help, const std::vector<std::string>& words) {
  command.add_option(name, value, help)->required()->check(CLI::IsMember(words));
}

void exclude(CLI::App& command, const std::string& name, const std::string& other) {
  command.get_option(name)->excludes(command.get_option(other));
}

void add_sysroot_option(CLI::App& command, std::string& sysroot) {
  add_value(command, "--sysroot", sysroot, "Directory that holds cfs/");
}

void add_esp_option(CLI::App& command, std::string& esp) {
  add_value(command, "--esp", esp,
            "EFI system partition's directory (default: the partition that this machine was booted "
            "from)");
}

void add_no_way_back_option(CLI::App& command, bool& no_way_back) {
  add_flag(command, "--no-way-back", no_way_back,
           "Go on even if nothing whole is left to fall back to");
}

SwitchOptions switch_options(bool no_way_back) {
  SwitchOptions options;
  if (no_way_back) options.way_back = WayBack::kNotRequired;
  return options;
}

void add_url_option(CLI::App& command, const std::string& name, const std::string& text,
                    std::optional<net::Url>& url) {
  command.add_option_function<std::string>(
      name,
      [&url, name](const std::string& value) {
        Result<net::Url> parsed = net::Url::parse(value);
        if (!parsed) throw CLI::ValidationError(name, parsed.error().describe());
        url = std::move(*parsed);
      },
      text);
}

void add_release_options(CLI::App& command, ReleaseOptions& options) {
  add_url_option(command, "--url", "Where the release repository is", options.url);
  command.get_option("--url")->required();
  add_value(command, "--root", options.root, "Trusted root metadata (root.json)",
            Presence::kRequired);
  add_value(command, "--name", options.name, "Name of the releases to follow", Presence::kRequired,
            check_name);
  add_value(command, "--channel", options.channel, "Channel to follow", Presence::kOptional,
            check_channel);
  add_value(command, "--board", options.board,
            "What the device is; releases for other boards are refused", Presence::kOptional,
            check_board);
}

Result<std::string> ReleaseOptions::read_root() const {
  return read_file(AT_FDCWD, root, trust::max_size_bytes(trust::Role::kRoot), Maker::kCfs);
}

}  // namespace cfs::deployer
